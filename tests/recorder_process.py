"""`presenced record` and `presenced replay` as processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from waiting import wait_for

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")}
COMMAND = (sys.executable, "-m", "presenced")


class RecorderProcess:
    """`presenced record` as a process."""

    def __init__(self, config: Path, out: Path, log_file: Path, *arguments: str) -> None:
        self.out = out
        self.log_file = log_file
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "record", "--config", str(config), *arguments, str(out)],
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until_reading(self) -> None:
        wait_for(lambda: "reading topics" in self.log, what="the offsets of Kafka")

    def wait_until_subscribed(self) -> None:
        wait_for(lambda: "subscription granted" in self.log, what="the subscription")

    def holds(self, count: int) -> bool:
        return sum(path.read_bytes().count(b"\n") for path in self.files) == count

    @property
    def files(self) -> list[Path]:
        return sorted(self.out.parent.glob(f"{self.out.name}*"))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(20)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def replayed(files: list[Path], *arguments: str, shown: str = "clients") -> list[dict[str, Any]]:
    """What a replay of files prints, read together."""
    recording = b"".join(path.read_bytes() for path in files)
    done = subprocess.run(
        [*COMMAND, "replay", "--print", shown, *arguments, "-"],
        input=recording,
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
