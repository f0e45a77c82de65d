"""TCP connections within a time limit, and what is wrong with those that fail."""

import contextlib
import errno
import socket
import time

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


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


def tcp_problem(error: OSError) -> str:
    """Return why a TCP connection failed; it continues "the broker at ..."."""
    if isinstance(error, TimeoutError):
        return "did not answer"
    if error.errno == errno.ECONNREFUSED:
        return "refused the TCP connection"
    return f"cannot be reached ({error.strerror or error})"


def tls_reason(error: BaseException) -> str:
    """Return OpenSSL's name of what went wrong, such as WRONG_VERSION_NUMBER; empty if unknown."""
    return getattr(error, "reason", None) or ""


def is_no_tls(error: BaseException) -> bool:
    """Whether the answer to a TLS handshake is of another protocol."""
    return tls_reason(error) in _NO_TLS
