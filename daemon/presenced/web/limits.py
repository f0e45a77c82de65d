"""What the limits of the listener apply to."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

_SUBSCRIBER_BITS, _SITE_BITS = 64, 48


class RecentKeys:
    """Remembers keys for `seconds` after they were last added, and at most the newest `limit`."""

    def __init__(
        self, seconds: float, limit: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._added: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        added = self._added.get(key)
        return added is not None and self._clock() - added < self._seconds

    def add(self, key: str) -> None:
        """Remember a key from now on."""
        self._added[key] = self._clock()
        self._added.move_to_end(key)
        if len(self._added) > self._limit:
            self._added.popitem(last=False)

    def discard(self, key: str) -> None:
        """Forget a key, if it is remembered."""
        self._added.pop(key, None)


def limit_key(address: str) -> str:
    """Return what an address is limited by: the IPv4 address, or the /64 network of an IPv6 one."""
    return _network(address, _SUBSCRIBER_BITS)


def network_key(address: str) -> str:
    """Return what one attacker may have many addresses of: the /48 network of an IPv6 address.

    An IPv4 address is its own network.
    """
    return _network(address, _SITE_BITS)


def _network(address: str, bits: int) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or int(ip) >> (128 - bits))
