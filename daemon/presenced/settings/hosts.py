"""Names and addresses of hosts: the broker's, and the one to listen on."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from presenced.settings.problems import InvalidValue

__all__ = ["HOW_TO_FIND_ENDPOINT", "ListenAddress", "check_endpoint", "parse_listen"]

HOW_TO_FIND_ENDPOINT = (
    "set it to your broker's host name; AWS tells yours by"
    " `aws iot describe-endpoint --endpoint-type iot:Data-ATS`"
)

_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(\.{_LABEL})*\.?")
_LISTEN = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^:\[\]]*)):(?P<port>[0-9]{1,9})")
_LAST_PORT = 65535


class ListenAddress(NamedTuple):
    """Where to listen: `host` None means every interface, `port` 0 a free port."""

    host: str | None
    port: int


def check_endpoint(value: Any) -> str:
    """Return the host name or address of a broker, or the empty text for none.

    Raises ValueError with a message for people.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"must be a host name: {HOW_TO_FIND_ENDPOINT}")
    if value == "" or _is_host(value):
        return value
    raise _not_an_endpoint(value)


def parse_listen(text: str) -> ListenAddress:
    """Take apart `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; raises ValueError for people."""
    match = _LISTEN.fullmatch(text)
    if match is None:
        raise _not_a_listen_address(text)
    port = int(match["port"])
    if port > _LAST_PORT:
        raise InvalidValue(f"must have a port from 0 to {_LAST_PORT}")
    host = match["ipv6"] if match["ipv6"] is not None else match["name"]
    if match["ipv6"] is not None and not _is_ipv6(host):
        raise InvalidValue("must have an IPv6 address between the brackets, such as [::1]:9883")
    if match["ipv6"] is None and host and _NAME.fullmatch(host) is None:
        raise InvalidValue("must name a host before the colon, or nothing for every interface")
    return ListenAddress(host or None, port)


def _is_host(text: str) -> bool:
    return _NAME.fullmatch(text) is not None or _is_ipv6(text)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _not_an_endpoint(text: str) -> InvalidValue:
    rule = "must be a host name alone, without scheme, port or path"
    try:
        url = urlsplit(text.strip() if "://" in text else f"//{text.strip()}")
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    if not _is_host(host):
        return InvalidValue(f"{rule}: {HOW_TO_FIND_ENDPOINT}")
    # urlsplit makes names lower-case; readers should find their own spelling.
    start = text.lower().find(host)
    host = text[start : start + len(host)]
    return InvalidValue(f"{rule}: write {host}" + (f" and mqtt.port: {port}" if port else ""))


def _not_a_listen_address(text: str) -> InvalidValue:
    rule = "must be HOST:PORT, or :PORT for every interface"
    bare = text.partition("://")[2].rstrip("/") if "://" in text else text.strip()
    if re.fullmatch(r"[0-9]{1,5}", bare):
        return InvalidValue(rule, nearest=f'":{bare}"')
    if _is_ipv6(bare.strip("[]")):
        return InvalidValue(
            f"{rule}; an IPv6 address stands in brackets", nearest=f"[{bare.strip('[]')}]:9883"
        )
    if bare.count(":") > 1:
        return InvalidValue(f"{rule}; an IPv6 address stands in brackets, such as [::1]:9883")
    if _LISTEN.fullmatch(bare):
        return InvalidValue(rule, nearest=bare)
    return InvalidValue(rule, nearest=f"{bare}:9883" if _NAME.fullmatch(bare) else None)
