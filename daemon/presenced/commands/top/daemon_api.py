"""Requests to the API of a running daemon, by the standard library."""

import base64
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from presenced.commands.output import CommandError
from presenced.commands.top.overview import Clients, OfflineClient, Overview
from presenced.settings.certificates import verifying_context

T = TypeVar("T")

_TIMEOUT = 10.0
_LONGEST_DETAIL = 300
# What a daemon that restarts answers, or a proxy before it.
_PASSING = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_LONGEST_ANSWER = 8 * 2**20
_OVERVIEW = "/api/v1/overview"
_LAST_OFFLINE = "/api/v1/clients?state=offline&sort=-since&limit="


class UnreachableError(Exception):
    """The daemon does not answer now, but may do so later."""


class WithheldError(Exception):
    """The daemon may not show any client now, because other workers may have its partitions."""


class Facts(NamedTuple):
    """What the screen shows: the overview, and the clients that went offline last."""

    overview: Overview
    clients: list[OfflineClient]


class DaemonApi:
    """The API at a URL such as `http://localhost:9883`.

    `user` and `password` are those of the web configuration of the listener, if it has any. `ca` is
    a PEM file with the authority of its certificate, None for those of the system. Proxies of the
    environment are not used.
    """

    def __init__(
        self, url: str, user: str | None, password: str | None, ca: Path | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if user is not None:
            pair = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        try:
            context = verifying_context(ca.read_bytes() if ca else None)
        except OSError as error:
            raise CommandError(f"--ca {ca} cannot be read: {error}") from error
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            _NoRedirects(),
        )

    def read(self, limit: int) -> Facts:
        """Ask for the overview, and for at most `limit` clients that went offline last.

        Raises UnreachableError or WithheldError, or CommandError if another attempt would not help.
        """
        overview = self._get(_OVERVIEW, Overview)
        return Facts(overview, self._get(f"{_LAST_OFFLINE}{limit}", Clients).clients)

    def _get(self, path: str, kind: type[T]) -> T:
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                body = answer.read(_LONGEST_ANSWER)
            return msgspec.json.decode(body, type=kind)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                message = f"the certificate of {self._url} is not trusted: {reason.verify_message}"
                raise CommandError(f"{message}; name its authority with --ca FILE") from error
            words = getattr(reason, "strerror", None) or reason
            words = _printable(str(words))
            raise UnreachableError(f"{self._url} does not answer: {words}") from error
        except msgspec.MsgspecError as error:
            raise CommandError(
                f"{self._url}{path} is not an answer of presenced ({error}): check --url"
            ) from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        status = error.code
        if status == HTTPStatus.UNAUTHORIZED:
            return CommandError(
                f"{self._url} wants a user name and a password, or refuses these: use --user NAME"
                " with --password-file FILE or the environment variable PRESENCED_TOP_PASSWORD"
            )
        if status == HTTPStatus.NOT_FOUND:
            return CommandError(
                f"{error.url} does not exist: metrics.api is off, presenced there is older, or"
                " --url is not that of presenced"
            )
        problem = _detail(error.read(_LONGEST_ANSWER))
        detail = _printable(problem or error.reason)
        if status == HTTPStatus.SERVICE_UNAVAILABLE and problem and _OVERVIEW in error.url:
            return WithheldError(detail)
        if status in _PASSING:
            return UnreachableError(f"{self._url} answers {status}: {detail}")
        return CommandError(f"{self._url} answers {status}: {detail}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could send the password to another server."""

    def redirect_request(self, *_: object) -> None:
        return None


def _printable(text: str) -> str:
    """Return a text of a server without what could control the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_DETAIL])


def _detail(body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return ""
    return str(problem.get("detail", "")) if isinstance(problem, dict) else ""
