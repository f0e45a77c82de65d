"""The connection of a command to the Kafka cluster of the settings."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from presenced.aws.client import RequestCounts, open_credentials
from presenced.aws.errors import AwsError
from presenced.aws.msk_tokens import MskTokens
from presenced.settings import Settings
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import IAM
from presenced.sources.kafka.client_config import client_config
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.faults import Cause, KafkaFaultError, no_token
from presenced.sources.kafka.permissions import Permission, denied
from presenced.system.loop import Clocks, in_thread


@asynccontextmanager
async def open_cluster(settings: Settings, client_id: str) -> AsyncIterator[Cluster]:
    """Yield a client of the cluster, whose methods block: call them in a thread.

    `client_id` is for the logs of the brokers. Raises KafkaFaultError if there are no credentials,
    and SettingsError if a file cannot be read.
    """
    kafka, region, snapshot = settings.kafka, settings.brokers_region, FileSnapshot()
    make_config = partial(client_config, kafka, snapshot, client_id=client_id)
    if kafka.security.mechanism != IAM:
        yield await in_thread(lambda: Cluster(kafka, make_config, region), name="kafka")
        return
    clocks = Clocks(time.monotonic, time.time)
    credentials = open_credentials(settings, RequestCounts(), clocks)
    try:
        tokens = MskTokens(credentials, region or "", clocks)
        try:
            # The client would say only that it got no token.
            await tokens.make()
        except AwsError as error:
            raise KafkaFaultError(no_token(str(error))) from None
        config = partial(make_config, tokens=tokens)
        yield await in_thread(lambda: Cluster(kafka, config, region), name="kafka")
    finally:
        await credentials.close()


@contextmanager
def needing(permission: Permission, settings: Settings) -> Iterator[None]:
    """Name the permission if the request in this block is denied, and what grants it."""
    try:
        yield
    except KafkaFaultError as error:
        if error.fault.reason is not Cause.DENIED:
            raise
        region = settings.brokers_region
        raise KafkaFaultError(denied(settings.kafka, permission, region)) from None
