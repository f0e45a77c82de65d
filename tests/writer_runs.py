"""A state writer on a running loop, and what it handed over."""

import asyncio
from pathlib import Path
from typing import Any, Literal

from presenced.store.file import StateFile
from presenced.store.schema import ForgetRow
from presenced.store.writer import Writer, WriterCounts
from waiting import until


class Run:
    """A writer on the running loop, what it counted, and the requests that it handed over."""

    def __init__(self, path: Path, on_error: Literal["continue", "stall"] = "continue") -> None:
        self.counts = WriterCounts()
        self.requests: list[ForgetRow] = []
        self.writer = Writer(
            StateFile.open(path),
            on_forget=self.requests.extend,
            on_error=on_error,
            counts=self.counts,
        )
        self.writer.start()

    async def committed(self, changes: Any) -> None:
        """Submit, and wait for it to be done."""
        done = asyncio.Event()
        self.writer.submit(changes, done.set)
        await until(done.is_set)

    async def close(self) -> bool:
        return await asyncio.to_thread(self.writer.close, 20.0)
