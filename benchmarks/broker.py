"""A mosquitto of one's own."""

import getpass
import shutil
import socket
from pathlib import Path

from benchmarks.processes import Process, free_port
from benchmarks.waiting import wait_for

__all__ = ["Broker", "mosquitto"]


def mosquitto() -> str:
    """The path of mosquitto; SystemExit where it is missing."""
    path = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if path is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    return path


class Broker(Process):
    """A mosquitto on loopback without TLS, which drops nothing.

    It is told to have 100 messages under way to a client at QoS 1, as AWS IoT Core has. Version
    2.0.11 has thousands, whatever it is told, while it is published to at the same time.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        config = directory / "mosquitto.conf"
        lines = [
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "max_queued_messages 0",
            "max_inflight_messages 100",
            "set_tcp_nodelay true",
            "log_type subscribe",
            "log_type error",
        ]
        config.write_text("\n".join(lines) + "\n")
        super().__init__([mosquitto(), "-c", str(config)], directory / "mosquitto.log")
        wait_for(self._listens, "mosquitto listens")

    def _listens(self) -> bool:
        self.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_for_subscription(self, client_id: str) -> None:
        """Return when a client of this ID has subscribed."""
        wait_for(
            lambda: any(
                line.split(": ", 1)[-1].startswith(f"{client_id} ")
                for line in self.log.read_text(errors="replace").splitlines()
            ),
            f"{client_id} subscribed",
        )
