"""How the clients of a worker reach the cluster: addresses, TLS, and who they are."""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError

from presenced.aws.client import RequestCounts, open_credentials
from presenced.aws.credentials import CredentialsCache
from presenced.aws.msk_tokens import MskTokens
from presenced.settings import Settings
from presenced.settings.connection_secrets import aws_proxy_choice
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import IAM
from presenced.sources.kafka.client_config import Tokens, client_config
from presenced.system.loop import Clocks, in_thread


class KafkaAccess:
    """Reads what the settings name; used on the event loop.

    With AWS_MSK_IAM the credentials for tokens are kept; `requests` counts what they take.
    """

    def __init__(self, requests: RequestCounts, clocks: Clocks) -> None:
        self._requests = requests
        self._clocks = clocks
        self._credentials: CredentialsCache | None = None
        self._tokens: Tokens | None = None
        self._made_of: tuple[object, ...] = ()

    async def read(
        self, settings: Settings, report: Callable[[KafkaError], None]
    ) -> Mapping[str, Any]:
        """Return the configuration of librdkafka; `report` is its callback for errors.

        Raises SettingsError if a file cannot be read.
        """
        tokens = await self._tokens_for(settings)
        return await in_thread(
            lambda: client_config(settings.kafka, FileSnapshot(), report, tokens=tokens),
            name="kafka files",
        )

    def another(self) -> "KafkaAccess":
        """Return one for other settings, which leaves the credentials of this one alone."""
        return KafkaAccess(self._requests, self._clocks)

    async def close(self) -> None:
        """Ask for no more credentials."""
        credentials, self._credentials = self._credentials, None
        if credentials is not None:
            await credentials.close()

    async def _tokens_for(self, settings: Settings) -> Tokens | None:
        if settings.kafka.security.mechanism != IAM:
            return None
        proxy = aws_proxy_choice(settings.aws, settings.mqtt)
        made_of = settings.aws, settings.tls_files, settings.brokers_region, proxy
        if self._tokens is None or made_of != self._made_of:
            await self.close()
            self._credentials = open_credentials(settings, self._requests, self._clocks)
            region = settings.brokers_region or ""
            self._tokens = MskTokens(self._credentials, region, self._clocks)
            self._made_of = made_of
        return self._tokens
