"""TCP connections within a time limit."""

import contextlib
import socket
import time


def connect_tcp(host: str, port: int, timeout: float) -> socket.socket:
    """Return a TCP connection, whose reads and writes have the same timeout.

    Blocks for `timeout` seconds at most, apart from name resolution: each address of a host may
    take an equal share of the time that is left. Raises OSError, that of the last address.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    deadline, failure = time.monotonic() + timeout, OSError(f"{host} has no address")
    for tried, (family, kind, protocol, _, place) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - tried)
        with contextlib.ExitStack() as unless_connected:
            try:
                connection = unless_connected.enter_context(socket.socket(family, kind, protocol))
                connection.settimeout(max(0.001, share))
                connection.connect(place)
            except OSError as error:
                failure = error
                continue
            unless_connected.pop_all()
            connection.settimeout(timeout)
            return connection
    raise failure
