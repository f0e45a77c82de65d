"""A state writer on a running loop, and what it told."""

import asyncio
from pathlib import Path
from typing import Any

from presenced.store import CommitFailure, ForgetRow, StateFile, Writer
from waiting import until


class Heard:
    """What a writer told."""

    def __init__(self) -> None:
        self.failures: list[CommitFailure] = []
        self.recoveries: list[float] = []
        self.refused = 0
        self.requests: list[ForgetRow] = []

    def commits_fail(self, failure: CommitFailure) -> None:
        self.failures.append(failure)

    def commits_succeed(self, seconds: float) -> None:
        self.recoveries.append(seconds)

    def rows_refused(self, count: int) -> None:
        self.refused += count

    def forget(self, requests: Any) -> None:
        self.requests.extend(requests)


class Run:
    """A writer on the running loop, and what it told."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.heard = Heard()
        self.writer = Writer(
            StateFile.open(path), self.heard, asyncio.get_running_loop(), **options
        )
        self.writer.start()

    async def committed(self, changes: Any) -> None:
        """Submit, and wait for it to be done."""
        done = asyncio.Event()
        self.writer.submit(changes, done.set)
        await until(done.is_set)

    async def close(self) -> bool:
        return await asyncio.to_thread(self.writer.close, 20.0)
