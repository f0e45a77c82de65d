"""HTTP proxies: how settings name them, which hosts need none, and what their refusals mean."""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import (  # type: ignore[attr-defined] # typeshed has one for macOS alone
    getproxies_environment,
    proxy_bypass_environment,
)

from pydantic import AfterValidator, SecretStr

from presenced.settings.files import FileSnapshot
from presenced.settings.passwords import read_password_file
from presenced.settings.problems import InvalidValue
from presenced.settings.values import host_port, is_host

# tinyproxy answers 401 to a wrong password, and 407 to none.
_LOGIN_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
_DEFAULT_PORTS = {"http": 80, "https": 443}
HTTPS_PROXY = "HTTPS_PROXY"
"""The environment variable that names a proxy for requests to AWS."""

_FORM = (
    "must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with percent-encoding for special"
    " characters of user name and password"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that tunnels by CONNECT (RFC 9110 section 9.3.6).

    `key` is the setting or the environment variable that names it.
    """

    host: str
    port: int
    key: str
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)
    scheme: str = "http"

    @property
    def address(self) -> str:
        """Host and port; an IPv6 address is in brackets."""
        return host_port(self.host, self.port)

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates (RFC 7617), or none. It holds a secret."""
        if self.username is None:
            return {}
        login = f"{self.username}:{self.password}".encode()
        return {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"}


def _parts(secret: SecretStr) -> SplitResult:
    """Return the parts of a proxy's URL. Raises InvalidValue, which shows none of them."""
    text = secret.get_secret_value()
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise InvalidValue(_FORM) from None
    if re.match("(https|socks[45]?[ah]?)://", text):
        raise InvalidValue("must begin with http://: presenced speaks no TLS or SOCKS to a proxy")
    complete = text.rstrip("/") == f"http://{url.netloc}" and is_host(host) and port
    if not complete or ":" in unquote(url.username or "") or (url.password and not url.username):
        raise InvalidValue(_FORM)
    return url


def _check_proxy(secret: SecretStr) -> SecretStr:
    _parts(secret)
    return secret


ProxyUrl = Annotated[SecretStr, AfterValidator(_check_proxy)]
"""A field with the URL of a proxy, which is never shown because it may hold a password."""


def check_password_file(path: Path | None, proxy: SecretStr | None, key: str) -> None:
    """Raise InvalidValue if a password file does not go with the proxy that `key` names."""
    if path is None:
        return
    url = _parts(proxy) if proxy else None
    if url is None or not url.username:
        raise InvalidValue(f"needs a user name in {key}, as http://USER@HOST:PORT has it")
    if url.password:
        raise InvalidValue(f"must not be set if {key} has a password: keep one of them")


def read_proxy(
    secret: SecretStr, password_file: Path | None, key: str, snapshot: FileSnapshot | None = None
) -> Proxy:
    """Return the proxy of a URL with the password of its file, if there is one.

    Raises SettingsError if the file cannot be read or is empty.
    """
    url = _parts(secret)
    assert url.hostname is not None and url.port is not None  # noqa: S101, PT018 - checked there
    password = unquote(url.password or "")
    if password_file is not None:
        password = read_password_file(password_file, f"{key}_password_file", snapshot)
    username = unquote(url.username) if url.username else None
    return Proxy(url.hostname, url.port, key, username, password)


def environment_proxy() -> Proxy | None:
    """Return the proxy that `HTTPS_PROXY` names, or None.

    Raises InvalidValue, which does not show it, if it is not the URL of a proxy.
    """
    found = getproxies_environment().get("https")
    if not found:
        return None
    try:
        url = urlsplit(found if "://" in found else f"http://{found}")
        default_port = _DEFAULT_PORTS[url.scheme]
        host, port = url.hostname, url.port or default_port
    except (ValueError, KeyError):
        host, port = None, 0
    if host is None:
        raise InvalidValue("is not the URL of an HTTP proxy")
    username = unquote(url.username) if url.username else None
    return Proxy(host, port, HTTPS_PROXY, username, unquote(url.password or ""), url.scheme)


def is_exempt(host: str, port: int) -> bool:
    """Return whether `NO_PROXY` lists a host, as curl reads it.

    Entries are names, which include the names below them, addresses, networks (`10.0.0.0/8`), or
    `*` for all. The standard library knows only names.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return bool(proxy_bypass_environment(f"{host}:{port}"))
    for entry in getproxies_environment().get("no", "").split(","):
        text = entry.strip()
        try:
            if text == "*" or address in ip_network(text.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


class ProxyRefusal(NamedTuple):
    """Why a proxy did not connect to a server, and what to do about it.

    `unreachable` is a fault of the server or of the way to it, the others are the proxy's.
    """

    kind: Literal["authentication", "forbidden", "unreachable"]
    detail: str
    remedy: str


def refusal(proxy: Proxy, status: int, target: str) -> ProxyRefusal:
    """Return what an HTTP status other than 200 means as the answer to CONNECT."""
    where, said = f"the proxy at {proxy.address}", f"(HTTP status {status})"
    if status in _LOGIN_REFUSED and proxy.username is None:
        detail = f"{where} requires a user name and a password {said}"
        return ProxyRefusal("authentication", detail, f"Set them in {proxy.key}")
    if status in _LOGIN_REFUSED:
        detail = f"{where} rejects the user name or the password {said}"
        remedy = f"Check both in {proxy.key}, and that the proxy accepts Basic authentication"
        return ProxyRefusal("authentication", detail, remedy)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = f"{where} cannot reach {target} {said}"
        remedy = "Check this address, and the name servers and firewalls between the proxy and it"
        return ProxyRefusal("unreachable", detail, remedy)
    detail = f"{where} does not allow connections to {target} {said}"
    remedy = (
        "Ask the operator of the proxy to allow CONNECT to this host and port; many proxies allow"
        " port 443 only"
    )
    return ProxyRefusal("forbidden", detail, remedy)
