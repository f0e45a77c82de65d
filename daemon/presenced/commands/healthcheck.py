"""`python -m presenced.commands.healthcheck`: whether a running daemon is healthy, for containers.

Exit status 0 if it is healthy, else 1. The daemon is process 1; for another one, the arguments are
those that it was started with, such as `run --listen :9000`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from presenced.settings import DEFAULT_CONFIG, ListenAddress, SettingsError, load_settings
from presenced.settings.values import DEMO_LISTEN, host_port, parse_listen
from presenced.system.network import connect_tcp

_REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_HEALTHY = (b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")


def main(arguments: Sequence[str]) -> int:
    """Check the daemon that was started with these arguments, and return the exit status."""
    try:
        address, protected = listener_of(
            arguments or arguments_of(Path("/proc/1/cmdline").read_bytes())
        )
        problem = problem_at(address, protected=protected)
    except SettingsError as error:
        problem = str(error)
    print(problem or "presenced is healthy.")
    return 1 if problem else 0


def arguments_of(command_line: bytes) -> Sequence[str]:
    """Return the arguments after `presenced` in a /proc/PID/cmdline; without it, `run`."""
    words = command_line.decode(errors="replace").rstrip("\0").split("\0")
    names = [Path(word).name for word in words]
    return words[names.index("presenced") + 1 :] if "presenced" in names else ["run"]


def listener_of(arguments: Sequence[str]) -> tuple[ListenAddress, bool]:
    """Return where the daemon listens, and whether it may want TLS or a password there.

    Raises SettingsError.
    """
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


def problem_at(address: ListenAddress, *, protected: bool, timeout: float = 4.0) -> str | None:
    """Return what is wrong with the daemon at an address, None if nothing is.

    A `protected` listener may want TLS or a password; that it reacts is enough. `timeout` is in
    seconds: the event loop of a daemon that takes longer hangs.
    """
    host = address.reachable_host
    try:
        with connect_tcp(host, address.port, timeout) as connection:
            connection.sendall(_REQUEST)
            answer = connection.recv(100)
    except ConnectionResetError:
        answer = b""
    except OSError as error:
        return f"presenced does not answer at {host_port(host, address.port)}: {error}"
    if protected or answer.startswith(_HEALTHY):
        return None
    status = answer.partition(b"\r")[0].decode("latin-1")
    return f"presenced answers {status!r} at {host_port(host, address.port)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
