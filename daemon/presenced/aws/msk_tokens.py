"""Tokens that authenticate with Amazon MSK by the mechanism AWS_MSK_IAM.

A token is a URL that is signed and never requested, as aws-msk-iam-sasl-signer of AWS makes it. The
brokers of Amazon MSK take it by SASL/OAUTHBEARER (RFC 7628).
"""

import asyncio
import base64
from datetime import UTC, datetime
from urllib.parse import quote

from awscrt.exceptions import AwsCrtError

from presenced import __version__
from presenced.aws.credentials import CredentialsCache, no_credentials_yet
from presenced.aws.errors import AwsError, Cause
from presenced.aws.signing import presigned_url
from presenced.system.loop import Clocks

_SERVICE = "kafka-cluster"
_ACTION = f"{_SERVICE}:Connect"
_SECONDS = 900
# The client of Kafka waits 10 s for its first token.
_TIMEOUT = 9.0
_LOOP_DELAY = 0.5


class MskTokens:
    """Makes tokens for a region. Make it on the event loop, which must run while it is called."""

    def __init__(self, credentials: CredentialsCache, region: str, clocks: Clocks) -> None:
        self._credentials = credentials
        self._region = region
        self._clocks = clocks
        self._loop = asyncio.get_running_loop()

    def __call__(self, _config: str | None = None) -> tuple[str, float]:
        """Return a token and when it expires, as the callback `oauth_cb` of confluent-kafka does.

        Called in any thread but that of the event loop, which makes the token. Raises AwsError,
        whose text is that of the error that the client then reports.
        """
        token = asyncio.run_coroutine_threadsafe(self.make(), self._loop)
        try:
            return token.result(_TIMEOUT + _LOOP_DELAY)
        except TimeoutError:
            token.cancel()
            raise no_credentials_yet(_ACTION, _TIMEOUT) from None

    async def make(self) -> tuple[str, float]:
        """Return a token and when it expires, in seconds since the epoch. Raises AwsError."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                credentials = await self._credentials.get()
        except TimeoutError:
            raise no_credentials_yet(_ACTION, _TIMEOUT) from None
        now = int(self._clocks.wall())
        try:
            url = await presigned_url(
                f"https://kafka.{self._region}.amazonaws.com/?Action={quote(_ACTION, safe='')}",
                signer=credentials.signer,
                region=self._region,
                service=_SERVICE,
                date=datetime.fromtimestamp(now, UTC),
                expires=_SECONDS,
            )
        except AwsCrtError as error:
            detail = f"the request could not be signed ({error.name})"
            raise AwsError(Cause.CREDENTIALS, _ACTION, detail) from None
        url += f"&User-Agent={quote(f'presenced/{__version__}', safe='')}"
        token = base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
        expires = now + _SECONDS
        return token, min(expires, credentials.expires or expires)
