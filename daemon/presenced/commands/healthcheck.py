"""Whether a running daemon is healthy: `python -m presenced.commands.healthcheck`, for containers.

Exit status 0 when it answers, else 1. The daemon is process 1, unless arguments follow: those that
it was started with, such as `run --listen :9000`.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from presenced.settings import DEFAULT_CONFIG, ListenAddress, SettingsError, load_settings
from presenced.settings.values import DEMO_LISTEN, parse_listen

PROCESS_1 = Path("/proc/1/cmdline")

TIMEOUT = 4.0
"""Seconds: the event loop of a daemon that takes longer hangs."""

_REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_HEALTHY = (b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")
_LOOPBACK = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def main(arguments: Sequence[str]) -> int:
    """Ask the daemon that was started with these arguments; returns the exit status."""
    try:
        address, secured = listener_of(arguments or arguments_of(PROCESS_1.read_bytes()))
    except SettingsError as error:
        problem: str | None = str(error)
    else:
        problem = problem_at(address, secured=secured)
    sys.stdout.write(f"{problem or 'presenced is healthy.'}\n")
    return 1 if problem else 0


def arguments_of(command_line: bytes) -> Sequence[str]:
    """What follows `presenced` in it, after Python or an init; `run` where it does not stand."""
    words = command_line.decode(errors="replace").rstrip("\0").split("\0")
    names = [Path(word).name for word in words]
    return words[names.index("presenced") + 1 :] if "presenced" in names else ["run"]


def problem_at(address: ListenAddress, *, secured: bool, timeout: float = TIMEOUT) -> str | None:
    """What is wrong with the daemon that listens there, None if nothing is.

    With `secured` it may want TLS or a password: then a refusal tells as much.
    """
    host = _LOOPBACK.get(address.host, address.host)
    try:
        with socket.create_connection((host, address.port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(_REQUEST)
            answer = connection.recv(100)
    except ConnectionResetError:
        answer = b""
    except OSError as error:
        return f"presenced does not answer at {host}:{address.port}: {error}"
    if secured or answer.startswith(_HEALTHY):
        return None
    status = answer.partition(b"\r")[0].decode("latin-1")
    return f"presenced answers {status!r} at {host}:{address.port}"


def listener_of(arguments: Sequence[str]) -> tuple[ListenAddress, bool]:
    """Where a daemon with these arguments can be asked, and whether it may ask for more there."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--config", type=Path)
    run.add_argument("--listen")
    commands.add_parser("demo").add_argument("--listen", default=DEMO_LISTEN)
    options, _ = parser.parse_known_args(arguments)
    if options.command == "demo":
        return parse_listen(options.listen), False
    config = options.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    metrics = load_settings(
        config, overrides={"metrics.listen": options.listen}, require_endpoint=False
    ).metrics
    if metrics.health_address is not None:
        return metrics.health_address, False
    return metrics.listen_address, metrics.web_config is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
