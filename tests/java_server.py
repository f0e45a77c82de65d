"""Java servers for tests, run from jars that `make test-streams` fetches."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from brokers import missing
from waiting import wait_for

_BUILD = Path(__file__).parents[1] / "build"
# They start in half the time with the first compiler alone, and are small.
_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xss512k")


def need_java(server: str) -> list[str]:
    """The beginning of a command with the jars of a server, which are in build/SERVER.

    Skips the test without Java or the jars, and fails it in CI.
    """
    java = shutil.which("java") or missing(
        "Java is not installed: apt-get install default-jre-headless"
    )
    if not (_BUILD / server / ".jars").exists():
        missing(f"the jars of {server} are missing: apt-get install maven, then make test-streams")
    return [java, *_OPTIONS, "-cp", f"{_BUILD / server}/*"]


class JavaServer:
    """A process of Java on loopback that can be stopped, killed, frozen and started again.

    It is ready when it has logged `ready`. Its main class is the first of `arguments`.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        arguments: Sequence[str],
        *,
        ready: str,
        heap: str = "384m",
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.log_file = directory / f"{name}.log"
        self._name = name
        self._ready = ready
        defines = [f"-D{key}={value}" for key, value in (properties or {}).items()]
        self._command = [*need_java(name), f"-Xmx{heap}", *defines, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting."""
        with self.log_file.open("ab") as log:
            self._read_from = log.tell()
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Kafka's scripts and the JVM read options from there.
                env={key: value for key, value in os.environ.items() if "JAVA" not in key},
            )

    def wait_until_ready(self) -> None:
        """Return when it answers requests."""
        wait_for(self._is_ready, 60, f"{self._name} ready")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._name} ended: {self.log[-4000:]}"
        with self.log_file.open("rb") as log:
            log.seek(self._read_from)
            return self._ready.encode() in log.read()

    def stop(self) -> None:
        """End it, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it and start it again on the same ports, with all that it had stored."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Make it fall silent: its connections stay open, and nothing is answered any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        self._process = None

    @property
    def log(self) -> str:
        """All that it has logged, over all its lives."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
