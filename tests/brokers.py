"""Real brokers for tests: mosquitto on loopback, and a fast publisher."""

import contextlib
import getpass
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from certificates import Certificates
from waiting import wait_for

_PLUGINS = ("/usr/lib/*/mosquitto_dynamic_security.so", "/usr/lib*/mosquitto_dynamic_security.so")


def need_mosquitto() -> str:
    """The path of mosquitto; skips the test without it, and fails it in CI."""
    path = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        missing("mosquitto is not installed: apt-get install mosquitto")
    return path


def missing(what: str) -> NoReturn:
    """Skip for want of something, but not in CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def _own_ports() -> Iterator[int]:
    """Ports that only this worker of pytest-xdist takes, below those that the system gives out."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw5").removeprefix("gw")) % 6
    ports = range(20_000 + 2_000 * worker, 22_000 + 2_000 * worker)
    # Another run of the tests on this machine begins elsewhere.
    return itertools.islice(itertools.cycle(ports), os.getpid() * 37 % len(ports), None)


_ports = _own_ports()


def free_port() -> int:
    """A loopback port that is free at this moment, and that no other worker is given."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Mosquitto:
    """A mosquitto on fixed loopback ports, so that it can be restarted under its clients.

    `port` is the listener under test: with `certificates` it speaks TLS and requires client
    certificates, unless it does not `ask_for_certificate`; else it is plaintext. `back_port` is a
    plaintext listener for publishers.
    `max_inflight` bounds the unacknowledged QoS 1 messages per client; nothing is ever dropped.
    Subscriptions that match a pattern of `refused_filters` are refused by the broker's dynamic
    security plugin (its ACL file knows nothing of subscriptions). `users` maps names to passwords
    and makes the listener demand them. `max_qos` is the most that the listener under test grants.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificates: Certificates | None = None,
        server: tuple[Path, Path] | None = None,
        max_inflight: int = 100,
        refused_filters: Sequence[str] = (),
        users: dict[str, str] | None = None,
        max_qos: int = 2,
        ask_for_certificate: bool = True,
    ) -> None:
        self.executable = need_mosquitto()
        self.directory = directory
        self.port, self.back_port = free_port(), free_port()
        self.log_file = directory / "mosquitto.log"
        self._config = directory / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"user {getpass.getuser()}",
            "per_listener_settings false" if refused_filters else "per_listener_settings true",
            "log_type all",
            "connection_messages true",
            f"max_inflight_messages {max_inflight}",
            "max_queued_messages 0",
            "persistence true",
            f"persistence_location {directory}/",
            *(self._refusing(refused_filters) if refused_filters else ()),
            f"listener {self.port} 127.0.0.1",
            f"max_qos {max_qos}",
            *(self._tls(certificates, server) if certificates else ()),
            *(["require_certificate true"] if certificates and ask_for_certificate else ()),
            *(self._passwords(users) if users else ("allow_anonymous true",)),
            f"listener {self.back_port} 127.0.0.1",
            "allow_anonymous true",
        ]
        if refused_filters:  # then it is a setting for all listeners, and may stand once
            lines = [line for line in lines if line != "allow_anonymous true"]
            lines.insert(1, "allow_anonymous true")
        self._config.write_text("\n".join(lines) + "\n")

    @staticmethod
    def _tls(certificates: Certificates, server: tuple[Path, Path] | None) -> list[str]:
        cert, key = server or (certificates.server_cert, certificates.server_key)
        return [
            f"cafile {certificates.ca}",
            f"certfile {cert}",
            f"keyfile {key}",
        ]

    def _passwords(self, users: dict[str, str]) -> list[str]:
        file = self.directory / "passwords"
        file.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
        tool = shutil.which("mosquitto_passwd") or missing(
            "mosquitto_passwd is not installed: apt-get install mosquitto"
        )
        subprocess.run([tool, "-U", str(file)], check=True)
        file.chmod(0o600)
        return ["allow_anonymous false", f"password_file {file}"]

    def _refusing(self, filters: Sequence[str]) -> list[str]:
        plugins = [found for glob in _PLUGINS for found in Path("/").glob(glob[1:])]
        if not plugins:
            missing("mosquitto_dynamic_security.so is missing: apt-get install mosquitto")
        deny = [
            {"acltype": "subscribePattern", "topic": each, "allow": False, "priority": 9}
            for each in filters
        ]
        everything = dict.fromkeys(
            ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True
        )
        file = self.directory / "dynamic-security.json"
        file.write_text(
            json.dumps(
                {
                    "defaultACLAccess": everything,
                    "clients": [],
                    "roles": [{"rolename": "anyone", "acls": deny}],
                    "groups": [{"groupname": "anonymous", "roles": [{"rolename": "anyone"}]}],
                    "anonymousGroup": "anonymous",
                }
            )
        )
        return [f"plugin {plugins[0]}", f"plugin_opt_config_file {file}"]

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self.executable, "-c", str(self._config)], stdout=log, stderr=log
            )
        wait_for(self._listens, what="mosquitto listening")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended: {self.log}"
        try:
            socket.create_connection(("127.0.0.1", self.back_port), timeout=1).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """Make it fall silent: its connections stay open, and nothing is answered any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it, as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """End it and start it again on the same ports."""
        self.stop()
        self.start()

    @property
    def log(self) -> str:
        """All that it has logged, over all its lives."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def saw_disconnect(self, client_id: str) -> bool:
        """Whether a DISCONNECT packet of this client came over the wire."""
        return f"Received DISCONNECT from {client_id}" in self.log

    def publish(self, messages: Iterable[tuple[str, bytes]], *, qos: int = 1) -> None:
        """Publish all and return when the broker has acknowledged all."""
        publish("127.0.0.1", self.back_port, messages, qos=qos)


def publish(host: str, port: int, messages: Iterable[tuple[str, bytes]], *, qos: int = 1) -> None:
    """Publish to a plaintext broker as fast as it takes it, by MQTT 3.1.1 packets of our own.

    Returns when the last message is acknowledged, with QoS 0 when the broker answered a PINGREQ
    sent after it.
    """
    packets = [
        publish_packet(topic, payload, qos=qos, mid=number % 65535 + 1)
        for number, (topic, payload) in enumerate(messages)
    ]
    answers = 4 * len(packets) if qos else 0
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(connect_packet("publisher"))
        read_exactly(connection, 4)
        sender = threading.Thread(
            target=connection.sendall, args=(b"".join(packets) + b"\xc0\x00",), daemon=True
        )
        sender.start()
        read_exactly(connection, answers + 2)
        sender.join()
        connection.sendall(b"\xe0\x00")


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < count:
        more = connection.recv(min(count - len(data), 65536))
        assert more, "the broker closed the connection of the publisher"
        data += more
    return data


def connect_packet(client_id: str, *, version: int = 4) -> bytes:
    """A CONNECT with a clean session, of MQTT 3.1.1 (version 4) or 5."""
    properties = b"\x00" if version == 5 else b""
    body = b"\x00\x04MQTT" + bytes([version]) + b"\x02\x00\x3c" + properties + _text(client_id)
    return b"\x10" + _length(len(body)) + body


def publish_packet(topic: str, payload: bytes, *, qos: int, mid: int) -> bytes:
    """A PUBLISH of MQTT 3.1.1."""
    body = _text(topic) + (struct.pack("!H", mid) if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + _length(len(body)) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("!H", len(raw)) + raw


def _length(length: int) -> bytes:
    out = bytearray()
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(out)


def lifecycle_events(count: int) -> list[tuple[str, bytes]]:
    """So many `connected` events of as many clients, as (topic, payload)."""
    return [
        (
            f"$aws/events/presence/connected/device-{number}",
            json.dumps(
                {
                    "clientId": f"device-{number}",
                    "timestamp": 1700000000000 + number,
                    "eventType": "connected",
                    "sessionIdentifier": f"{number:032x}",
                    "principalIdentifier": "0" * 64,
                    "ipAddress": "192.0.2.1",
                    "versionNumber": 0,
                }
            ).encode(),
        )
        for number in range(count)
    ]
