"""A real HTTP proxy for tests: tinyproxy on loopback."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from brokers import free_port, missing
from waiting import wait_for


class Tinyproxy:
    """A tinyproxy that tunnels by CONNECT to `ports`, or to all if there are none.

    `login` is the user name and password that it demands. It connects to hosts that `denied`, a
    regular expression, does not match.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ports: Sequence[int] = (),
        login: tuple[str, str] | None = None,
        denied: str | None = None,
    ) -> None:
        path = shutil.which("tinyproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if path is None:
            missing("tinyproxy is not installed: apt-get install tinyproxy-bin")
        self._executable = path
        self.port = free_port()
        self._log = directory / f"tinyproxy-{self.port}.log"
        self._config = directory / f"tinyproxy-{self.port}.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"User {getpass.getuser()}",
            "Listen 127.0.0.1",
            f"Port {self.port}",
            "Timeout 600",
            f'LogFile "{self._log}"',
            "LogLevel Connect",
            *(f"ConnectPort {port}" for port in ports),
        ]
        if login:
            lines.append(f"BasicAuth {login[0]} {login[1]}")
        if denied:
            denials = directory / f"tinyproxy-{self.port}.filter"
            denials.write_text(f"{denied}\n")
            lines.append(f'Filter "{denials}"')
        self._config.write_text("\n".join(lines) + "\n")

    def url(self, login: str = "") -> str:
        """Its URL, with `USER:PASSWORD@` if that is given."""
        return f"http://{login}127.0.0.1:{self.port}"

    @property
    def tunnels(self) -> int:
        """How many connections it has made for clients."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text.count("Established connection to host")

    def start(self) -> "Tinyproxy":
        """Start it and return when it accepts connections."""
        self._process = subprocess.Popen(
            [self._executable, "-d", "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens, what="tinyproxy listening")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"tinyproxy ended: {self._config.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it, with the connections through it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
