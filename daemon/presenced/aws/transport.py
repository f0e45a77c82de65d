"""One HTTP request and its answer: TLS, proxies, limits, and what can be wrong with the network.

Redirects are not followed: a signature is for one host.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from presenced.aws.errors import AwsError, Cause
from presenced.settings import SettingsError
from presenced.settings.certificates import load_authorities, load_pair, verifying_context
from presenced.settings.files import FileSnapshot
from presenced.settings.problems import InvalidValue
from presenced.settings.proxy import HTTPS_PROXY, Proxy, environment_proxy, is_exempt, refusal
from presenced.settings.values import format_duration, is_loopback
from presenced.system.loop import in_thread
from presenced.system.network import is_no_tls, tcp_problem, tls_reason

T = TypeVar("T")

MAX_BODY = 16 << 20
"""Bytes of an answer; a page of SearchIndex with 100 large things has less than 2 MB."""

POOL_SIZE = 20
"""How many connections there are at most, unless more are asked for."""

# What aiohttp would add by itself; a signed request has exactly the headers that it needs.
_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it is sent; `address_key` is the key of the setting to check if it fails.

    `url` is percent-encoded. `headers` hold secrets. `by_certificate` says that a client
    certificate is shown to the server.
    """

    operation: str
    address_key: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    by_certificate: bool = False

    @property
    def address(self) -> str:
        """Host and port that are asked."""
        url = urlsplit(self.url)
        return url.netloc if url.port else f"{url.netloc}:{443 if url.scheme == 'https' else 80}"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, received at `received`, in seconds since the epoch."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received: float


def client_tls(
    ca: Path | None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities and `ca`.

    It shows the client certificate, if there is one. Reads regular files only; raises
    SettingsError if one cannot be read, and OSError, such as ssl.SSLError, if it cannot be used.
    """
    context, files = verifying_context(), FileSnapshot()
    if ca is not None:
        load_authorities(context, files.read(ca, "mqtt.tls.ca"))
    if cert is not None and key is not None:
        pair = files.read(cert, "mqtt.tls.cert"), files.read(key, "mqtt.tls.key")
        load_pair(context, *pair)
    return context


class Transport:
    """Sends requests over a pool of connections that belongs to one event loop.

    `load_tls` and `load_proxy` are called in a thread before the first request, the second again
    after the proxy has refused; they may raise SettingsError, the first one OSError too. Without a
    proxy of the settings the environment names it. `pool_size` limits the connections; further
    requests wait for one.
    """

    def __init__(
        self,
        load_tls: Callable[[], ssl.SSLContext],
        wall: Callable[[], float],
        pool_size: int = POOL_SIZE,
        load_proxy: Callable[[], Proxy | None] = lambda: None,
    ) -> None:
        self._load_tls = load_tls
        self._load_proxy = load_proxy
        self._proxy: Proxy | None = None
        self._proxy_loaded = False
        self._wall = wall
        self._pool_size = pool_size
        self._opening = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and return the complete answer, whatever its status.

        Waits without a limit of its own. Raises AwsError if there is no answer or if it is too
        large.
        """
        session = await self._pool(request)
        proxy = _proxy_for(request, self._proxy)
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                skip_auto_headers=_AUTOMATIC_HEADERS,
                proxy=f"{proxy.scheme}://{proxy.address}" if proxy else None,
                proxy_headers=proxy.headers if proxy else None,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise _too_large(request)
                return HttpAnswer(response.status, response.headers, bytes(body), self._wall())
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.ClientHttpProxyError):
                self._proxy_loaded = False  # its password may have been changed
            # Without the cause: texts of aiohttp hold the address of the proxy, with its password.
            raise network_error(error, request, proxy) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _pool(self, request: HttpRequest) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                tls = await _loaded(self._load_tls, "the files of mqtt.tls", request)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=tls, limit=self._pool_size),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None),
                    # aiohttp would read .netrc with the environment's proxies.
                    trust_env=False,
                )
            if not self._proxy_loaded:
                self._proxy = await _loaded(self._load_proxy, "the proxy", request)
                self._proxy_loaded = True
            return self._session


async def _loaded(load: Callable[[], T], what: str, request: HttpRequest) -> T:
    """Return what is loaded from files; raises AwsError if they cannot be used."""
    try:
        return await in_thread(load, name="aws-files")
    except (OSError, SettingsError) as error:
        raise AwsError(
            Cause.TLS,
            request.operation,
            f"{what} cannot be used ({error})",
            "`presenced check` names what is wrong with them",
            sent=False,
        ) from error


def _proxy_for(request: HttpRequest, configured: Proxy | None) -> Proxy | None:
    """Return the configured proxy, or that of the environment, or None if there is to be none.

    There is none for http://, which only this machine itself may be asked by (`aws.iot_url`). That
    of the environment is not used for this machine at all. Raises AwsError if it cannot be used.
    """
    url = urlsplit(request.url)
    host = url.hostname or ""
    if url.scheme == "http" or is_exempt(host, url.port or 443):
        return None
    if configured is not None or is_loopback(host):
        return configured
    try:
        return environment_proxy()
    except InvalidValue as error:
        detail = f"the environment variable {HTTPS_PROXY} {error}"
        raise AwsError(Cause.UNREACHABLE, request.operation, detail) from None


def timed_out(request: HttpRequest, seconds: float) -> AwsError:
    """Return the error of a request that has no answer after so many seconds."""
    return AwsError(
        Cause.TIMEOUT,
        request.operation,
        f"{request.address} did not answer within {format_duration(seconds)}",
        f"Check {request.address_key}, the network and the firewalls in between",
    )


def _too_large(request: HttpRequest) -> AwsError:
    return AwsError(
        Cause.UNREADABLE,
        request.operation,
        f"the answer of {request.address} is larger than {MAX_BODY >> 20} MB",
        f"Check {request.address_key}",
    )


def network_error(error: Exception, request: HttpRequest, proxy: Proxy | None) -> AwsError:
    """Return the error of a request without a complete answer, whatever aiohttp raised."""
    address, check = request.address, f"Check {request.address_key}"
    remedy = f"{check}, the network and {proxy.key if proxy else 'the firewalls in between'}"
    match error:
        case aiohttp.ClientHttpProxyError() if proxy:
            cause = Cause.UNREACHABLE
            _, detail, remedy = refusal(proxy, error.status, address)
        case aiohttp.ClientProxyConnectionError() if proxy:
            cause = Cause.UNREACHABLE
            detail = f"the proxy at {proxy.address} {tcp_problem(error.os_error)}"
            remedy = f"Check {proxy.key}, that the proxy runs, and the firewalls in between"
        case aiohttp.ClientConnectorDNSError():
            cause, detail = Cause.NAME_RESOLUTION, f"the name {error.host} cannot be resolved"
            remedy = f"{check} and the name servers of this machine"
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            cause, detail = Cause.TLS, _certificate_problem(error, address)
            remedy = (
                f"{check}, and the clock of this machine. Trusted are the authorities of the"
                " operating system and of mqtt.tls.ca; a proxy that inspects TLS has one of its own"
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            cause, detail, remedy = Cause.TLS, _handshake_problem(error, address), check
        case TimeoutError():
            cause, detail = Cause.TIMEOUT, f"{address} did not answer"
        case aiohttp.ClientConnectorError():
            cause, detail = Cause.UNREACHABLE, f"{address} {tcp_problem(error.os_error)}"
        case aiohttp.ClientResponseError():
            cause, detail, remedy = Cause.UNREADABLE, f"{address} does not speak HTTP", check
        case _ if request.by_certificate:
            # In TLS 1.3 a server checks the certificate after the client has finished the
            # handshake, and aiohttp does not pass its alert on.
            cause = Cause.TLS
            detail = f"{address} closed the connection instead of accepting the client certificate"
            remedy = (
                "Check that the certificate of mqtt.tls.cert is registered in this account and"
                " region, and active: aws iot list-certificates"
            )
        case _:
            cause = Cause.UNREACHABLE
            detail = f"{address} closed the connection instead of answering"
    # A request is sent once there is a connection, with TLS and through the proxy if need be.
    sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
    return AwsError(cause, request.operation, detail, remedy, sent=sent)


def _certificate_problem(error: Exception, address: str) -> str:
    inner = getattr(error, "certificate_error", error)
    message = getattr(inner, "verify_message", "") or "it is not valid"
    return f"the certificate of {address} cannot be verified ({message})"


def _handshake_problem(error: Exception, address: str) -> str:
    inner = getattr(error, "os_error", error)
    if is_no_tls(inner):
        return f"{address} does not speak TLS"
    return f"the TLS handshake with {address} failed ({tls_reason(inner) or 'no reason given'})"
