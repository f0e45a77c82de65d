"""The sockets on which the listener waits for connections."""

import asyncio
import errno
import os
import socket

from presenced.settings import ListenAddress
from presenced.settings.values import host_port

_BACKLOG = 128
# A name may have addresses that this machine cannot use: one that it can use is enough.
_UNUSABLE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenerError(Exception):
    """The listener cannot use its address."""


async def bind(address: ListenAddress, key: str) -> list[socket.socket]:
    """Return sockets that listen on an address; `key` is the setting that holds it.

    Without a host there is one for each of IPv4 and IPv6; the address `::` serves both with one
    socket, as other exporters do. Port 0 is one free port for all. Raises ListenerError.
    """
    try:
        return await _bind_all(address)
    except OSError as error:
        reason, remedy = _bind_problem(error, key)
        place = host_port(address.host or "", address.port)
        text = f"cannot listen on {place}: {reason}. {remedy}"
        raise ListenerError(text) from error


async def _bind_all(address: ListenAddress) -> list[socket.socket]:
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    unusable = None
    # A name may be listed twice in /etc/hosts.
    for family, place in dict.fromkeys((family, place) for family, *_, place in found):
        port = bound[0].getsockname()[1] if bound else address.port
        both_families = address.host is not None and place[0] == "::"
        try:
            bound.append(
                socket.create_server(
                    (place[0], port, *place[2:]),
                    family=family,
                    backlog=_BACKLOG,
                    dualstack_ipv6=both_families,
                )
            )
        except OSError as error:
            if error.errno not in _UNUSABLE:
                for each in bound:
                    each.close()
                raise
            unusable = error
    if unusable is not None and not bound:
        raise unusable
    for each in bound:
        each.setblocking(False)  # noqa: FBT003 -- the library's interface
    return bound


def _bind_problem(error: OSError, key: str) -> tuple[str, str]:
    """Return why an address cannot be bound, and what to do; `key` is the setting that holds it."""
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}", f"Set {key} to a name or address of this machine"
    if error.errno == errno.EADDRINUSE:
        remedy = f"Stop the program that uses the address, or set {key} to another one"
    elif error.errno == errno.EACCES:
        remedy = f"Set {key} to a port from 1024, or give presenced CAP_NET_BIND_SERVICE"
    else:
        remedy = f"Set {key} to a name or address of this machine"
    return os.strerror(error.errno or errno.EADDRNOTAVAIL), remedy
