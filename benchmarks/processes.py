"""Processes that are measured from outside, so that all are measured alike."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Process", "free_port"]

_WINDOW = 0.01
_BUSY = 0.2
_QUIET = 0.3


def free_port() -> int:
    """A loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child whose output goes to a file; a context manager that ends it."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )
        # As clock_getcpuclockid(3) makes it on Linux: the time of all threads, in nanoseconds.
        self._clock = ~self._child.pid << 3 | 2

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, as an operator would, and else at once."""
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._child.send_signal(number)

    def run_on(self, cores: Collection[int]) -> None:
        """Let all its threads run on these cores only, and those that they start."""
        for thread in Path(f"/proc/{self._child.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread.name), cores)

    def check(self) -> None:
        """See that it runs; SystemExit with its last lines if it has ended."""
        if self._child.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
            raise SystemExit(f"{self._child.args!r} has ended:\n{tail}")

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has taken."""
        return time.clock_gettime(self._clock)

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        return self._status("VmRSS")

    @property
    def highest_resident(self) -> int:
        """The most resident memory that it has had, in bytes."""
        return self._status("VmHWM")

    def forget_highest_resident(self) -> None:
        """Let `highest_resident` begin anew, as proc(5) has it."""
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> int:
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) * 1024

    def wait_until_idle(self, within: float = 600.0) -> float:
        """When it was last at work (`time.perf_counter`), once it has been idle for 0.3 s.

        At work is who takes more than a fifth of a core over 10 ms. SystemExit if it does not
        come to rest, or ends.
        """
        deadline = time.perf_counter() + within
        before, used = time.perf_counter(), self.cpu
        last = before
        while True:
            time.sleep(_WINDOW)
            now, uses = time.perf_counter(), self.cpu
            if uses - used > _BUSY * (now - before):
                last = now
            elif now - last > _QUIET:
                return last
            if now > deadline:
                raise SystemExit(f"{self._child.args!r} is not done after {within:.0f} s")
            self.check()
            before, used = now, uses
