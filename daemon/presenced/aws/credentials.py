"""Credentials for requests to AWS, kept and renewed before they expire.

They come from the credential provider of AWS IoT, in exchange for the MQTT client certificate
("Authorizing direct calls to AWS services" in the AWS IoT developer guide), or from the default
chain of the AWS Common Runtime. The runtime could ask the credential provider as well, but only on
port 443 over IPv4 without a proxy; it asks anew for each signature, and drops what a refusal says.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec
from awscrt import auth
from awscrt.exceptions import AwsCrtError

from presenced.aws.errors import AwsError, Cause, policy_statement
from presenced.aws.refusals import THROTTLED, clock_ahead, clock_texts
from presenced.aws.transport import HttpAnswer, HttpRequest, Transport, client_tls, timed_out
from presenced.settings.certificates import PemFiles
from presenced.settings.proxy import Proxy
from presenced.settings.values import format_duration
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

ASSUME_ROLE = "AssumeRoleWithCertificate"
"""The operation of the credential provider, by the name of its permission."""

_TIMEOUT = 10.0
# Credentials are valid for 15 minutes to 12 hours; they are renewed in their last fifth, at most.
_RENEW_BEFORE, _RENEW_IN_LAST = 300.0, 5
# The default chain keeps credentials itself, and looks after them when it is asked.
_ASK_CHAIN_EVERY = 60.0
_RETRY_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials as a `signer` of the runtime, which shows no secret.

    `source` says where they come from. Times are in seconds since the epoch; `expires` is None if
    they do not expire.
    """

    signer: Any = field(repr=False)
    source: str
    expires: float | None
    renew_at: float


class CredentialsProvider(Protocol):
    """Where credentials come from."""

    async def fetch(self) -> Credentials:
        """Return new credentials; raises AwsError."""


def no_credentials_yet(operation: str, seconds: float) -> AwsError:
    """Return the error of a request that waited so many seconds for credentials."""
    return AwsError(
        Cause.TIMEOUT,
        operation,
        f"there were no credentials within {format_duration(seconds)}",
        "Check the source of the credentials: aws.credentials_endpoint, or the role of the "
        "container or EC2 instance",
        sent=False,
    )


class CredentialsCache:
    """Keeps the credentials of a provider, and renews them while the old ones are valid.

    After a failure without valid credentials the provider is not asked again for 5 seconds. One
    request to the provider serves all that wait for it.
    """

    def __init__(self, provider: CredentialsProvider, clocks: Clocks) -> None:
        self._provider = provider
        self._clocks = clocks
        self._log = ThrottledLogger(get_logger("aws"))
        self._held: Credentials | None = None
        self._fetching: asyncio.Task[Credentials] | None = None
        self._failure: AwsError | None = None
        self._retry_at = float("-inf")

    async def get(self) -> Credentials:
        """Return valid credentials; raises AwsError if there are none."""
        held, now = self.held, self._clocks.wall()
        waiting = self._clocks.monotonic() < self._retry_at
        if held is not None:
            if now >= held.renew_at and not waiting:
                self._fetch()
            return held
        if self._failure is not None and waiting:
            # Without the frames of its earlier raises, which would add up.
            raise self._failure.with_traceback(None)
        # Shielded: others wait for it too, and the next request needs it.
        return await asyncio.shield(self._fetch())

    @property
    def held(self) -> Credentials | None:
        """The credentials that are valid at present, None if there are none."""
        held = self._held
        if held is None or held.expires is None or self._clocks.wall() < held.expires:
            return held
        return None

    @property
    def valid_for(self) -> float | None:
        """Seconds until the present credentials expire; None if they do not, or there are none."""
        held = self.held
        return held.expires - self._clocks.wall() if held and held.expires is not None else None

    def discard(self, credentials: Credentials) -> None:
        """Forget credentials that AWS does not accept."""
        if self._held is credentials:
            self._held = None

    async def close(self) -> None:
        """Stop asking the provider."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _fetch(self) -> asyncio.Task[Credentials]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.get_running_loop().create_task(self._renew())
            # Else asyncio reports an error of a task that nothing waits for.
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _renew(self) -> Credentials:
        try:
            self._held = await self._provider.fetch()
        except AwsError as error:
            self._failure = error
            self._retry_at = self._clocks.monotonic() + _RETRY_AFTER
            if valid_for := self.valid_for:
                self._log.warning(
                    "credentials not renewed; the present ones stay until they expire",
                    problem=str(error),
                    valid_for=round(valid_for),
                )
            raise
        self._failure = None
        return self._held


class _Fields(msgspec.Struct, rename="camel"):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: Annotated[datetime, msgspec.Meta(tz=True)]


class _Document(msgspec.Struct):
    credentials: _Fields


class RoleAliasProvider:
    """Exchanges the client certificate for credentials of the role behind a role alias.

    `url` is that of the role alias at the credential provider. The certificate files and the proxy
    are read each time, so that renewed ones are used. `count` is called with the error of each
    request, None if it succeeded.
    """

    def __init__(
        self,
        url: str,
        *,
        region: str,
        role_alias: str,
        thing_name: str,
        files: PemFiles,
        load_proxy: Callable[[], Proxy | None],
        clocks: Clocks,
        count: Callable[[AwsError | None], None],
    ) -> None:
        self._region = region
        self._role_alias = role_alias
        self._files = files
        self._load_proxy = load_proxy
        self._clocks = clocks
        self._count = count
        self._request = HttpRequest(
            operation=ASSUME_ROLE,
            address_key="aws.credentials_endpoint",
            method="GET",
            url=url,
            headers={"x-amzn-iot-thingname": thing_name},
            by_certificate=True,
        )

    async def fetch(self) -> Credentials:
        """Return new credentials; raises AwsError."""
        try:
            credentials = self._read(await self._exchange())
        except AwsError as error:
            self._count(error)
            raise
        self._count(None)
        return credentials

    async def _exchange(self) -> HttpAnswer:
        files = self._files
        transport = Transport(
            partial(client_tls, files.ca, files.cert, files.key),
            self._clocks.wall,
            load_proxy=self._load_proxy,
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await transport.exchange(self._request)
        except TimeoutError:
            raise timed_out(self._request, _TIMEOUT) from None
        finally:
            await transport.close()

    def _read(self, answer: HttpAnswer) -> Credentials:
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer)
        try:
            fields = msgspec.json.decode(answer.body, type=_Document).credentials
        except msgspec.MsgspecError:
            raise self._unreadable(answer) from None
        now, expires = answer.received, fields.expiration.timestamp()
        if expires <= now:
            ahead = clock_ahead(answer)
            raise AwsError(
                Cause.CLOCK,
                ASSUME_ROLE,
                *clock_texts(ahead),
                status=answer.status,
                clock_ahead=ahead,
            )
        signer = auth.AwsCredentialsProvider.new_static(  # type: ignore[no-untyped-call]
            fields.access_key_id, fields.secret_access_key, fields.session_token
        )
        margin = min(_RENEW_BEFORE, (expires - now) / _RENEW_IN_LAST)
        return Credentials(signer, f"role alias {self._role_alias}", expires, expires - margin)

    def _refused(self, answer: HttpAnswer) -> AwsError:
        """Return the error of an answer without credentials; what it says is not documented."""
        status = answer.status
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return AwsError(Cause.THROTTLED, ASSUME_ROLE, THROTTLED, status=status)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            detail = f"AWS reports an internal error (HTTP status {status})"
            return AwsError(Cause.UNAVAILABLE, ASSUME_ROLE, detail, status=status)
        if status < HTTPStatus.BAD_REQUEST:
            return self._unreadable(answer)
        permission = f"iot:{ASSUME_ROLE}"
        statement = policy_statement(
            permission, f"rolealias/{self._role_alias}", region=self._region
        )
        return AwsError(
            Cause.CREDENTIALS,
            ASSUME_ROLE,
            f"AWS gives the client certificate no credentials for the role alias {self._role_alias}"
            f" (HTTP status {status})",
            f"Check that the alias exists in the region {self._region}; that its role"
            " trusts credentials.iot.amazonaws.com; that aws.thing_name is the thing of the"
            f" certificate; and that the certificate's policy contains {statement}",
            status=status,
            permission=permission,
        )

    def _unreadable(self, answer: HttpAnswer) -> AwsError:
        return AwsError(
            Cause.UNREADABLE,
            ASSUME_ROLE,
            f"{self._request.address} does not answer as a credential provider of AWS IoT does"
            f" (HTTP status {answer.status})",
            "Check aws.credentials_endpoint",
            status=answer.status,
        )


class DefaultChainProvider:
    """Takes credentials from the environment variables, files, container or instance."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._chain: Any = None

    async def fetch(self) -> Credentials:
        """Return credentials; raises AwsError if there are none."""
        try:
            if self._chain is None:
                self._chain = auth.AwsCredentialsProvider.new_default_chain()  # type: ignore[no-untyped-call]
            future = asyncio.wrap_future(self._chain.get_credentials())
            # Shielded: a cancelled future would raise in the library's thread.
            found = await asyncio.shield(future)
        except AwsCrtError as error:
            raise AwsError(
                Cause.CREDENTIALS,
                "GetCredentials",
                "no credentials were found in environment variables, the shared configuration"
                f" files, the container or the instance ({error.name})",
                "Set aws.role_alias, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " or give this machine a role",
                sent=False,
            ) from None
        signer = auth.AwsCredentialsProvider.new_static(  # type: ignore[no-untyped-call]
            found.access_key_id, found.secret_access_key, found.session_token
        )
        in_environment = os.environ.get("AWS_ACCESS_KEY_ID") == found.access_key_id
        source = (
            "environment variables"
            if in_environment
            else "shared configuration files, container or instance"
        )
        expires = found.expiration.timestamp() if found.expiration else None
        return Credentials(signer, source, expires, self._clocks.wall() + _ASK_CHAIN_EVERY)
