"""The TCP connection to the broker: direct, or through an HTTP proxy."""

import re
import socket
import time

from presenced.settings.proxy import Proxy
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.system.network import connect_tcp

_LONGEST_ANSWER = 16384


class ProxyError(OSError):
    """A proxy that did not connect to `target`.

    `status` is the HTTP status of its answer, None if it is not one; `strerror` then continues "the
    server ...".
    """

    def __init__(self, proxy: Proxy, target: str, why: str, status: int | None = None) -> None:
        super().__init__(None, why)
        self.proxy = proxy
        self.target = target
        self.status = status


def open_connection(options: ConnectionOptions, timeout: float) -> socket.socket:
    """Return a TCP connection that reaches the broker.

    `timeout`, in seconds, is for the TCP connection, and again for the answer of the proxy: with a
    proxy it blocks for twice as long at most, apart from name resolution. Raises OSError.
    """
    connection = connect(options, timeout)
    try:
        open_tunnel(connection, options, timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(options: ConnectionOptions, timeout: float) -> socket.socket:
    """Return a TCP connection to the proxy, or to the broker if there is none.

    Blocks for `timeout` seconds at most, apart from name resolution. Raises OSError.
    """
    proxy = options.proxy
    address = (proxy.host, proxy.port) if proxy else (options.endpoint, options.port)
    return connect_tcp(*address, timeout)


def open_tunnel(connection: socket.socket, options: ConnectionOptions, timeout: float) -> None:
    """Have the proxy connect to the broker, if there is a proxy. Raises ProxyError."""
    proxy, target = options.proxy, options.address
    if proxy is None:
        return
    headers = {"Host": target, **proxy.headers}
    lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    before = connection.gettimeout()
    try:
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        head = _read_head(connection, time.monotonic() + timeout)
    except TimeoutError:
        raise ProxyError(proxy, target, "did not answer CONNECT in time") from None
    except OSError:
        raise ProxyError(proxy, target, "closed the connection on CONNECT") from None
    connection.settimeout(before)
    answer = re.match(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]", head)
    if answer is None:
        raise ProxyError(proxy, target, "does not answer CONNECT as an HTTP proxy does")
    status = int(answer[1])
    if not 200 <= status < 300:
        raise ProxyError(proxy, target, "refuses CONNECT", status)


def _read_head(connection: socket.socket, deadline: float) -> bytes:
    """Return the answer up to the empty line; what follows is the broker's.

    Ends early if the answer ends or is too long. Raises OSError.
    """
    head = bytearray()
    while not head.endswith(b"\r\n\r\n") and len(head) < _LONGEST_ANSWER:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        if not (byte := connection.recv(1)):
            break
        head += byte
    return bytes(head)
