"""The daemon, and how late a timer of its loop is: `python -m benchmarks.loop_probe CONFIG OUT`.

Each line of the file tells of one pause of more than a millisecond: when it ended, on the monotonic
clock, how long it was, and how much processor time the loop's thread took in it, in seconds. The
rest of the time the thread waited for a processor, or for a lock. Nothing else about the daemon is
different.
"""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from presenced.commands.run import serve
from presenced.settings import load_settings
from presenced.system import log

_EVERY = 0.001


async def _probe(output: TextIO) -> None:
    while True:
        fell_asleep, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_EVERY)
        now, uses = time.perf_counter(), time.thread_time()
        late = now - fell_asleep - _EVERY
        if late > _EVERY:
            output.write(f"{now} {late} {min(late, uses - used)}\n")


async def _serve(config: Path, output: TextIO) -> None:
    settings = load_settings(config)
    log.configure(settings.log.level, settings.log.format)
    probe = asyncio.create_task(_probe(output))
    await serve(settings, lambda _: settings)
    probe.cancel()
    with suppress(asyncio.CancelledError):
        await probe


def main() -> None:
    """Serve until ended."""
    with Path(sys.argv[2]).open("w", buffering=1) as output:
        asyncio.run(_serve(Path(sys.argv[1]), output))


if __name__ == "__main__":
    main()
