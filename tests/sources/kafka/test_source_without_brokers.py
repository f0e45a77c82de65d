"""The source Kafka, and the trial of its settings, while no broker can be reached."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certificates import Certificates
from librdkafka import clients, nothing_collected
from partition_fleets import CLOCKS, Fleets, kafka_settings
from presenced.aws.client import RequestCounts
from presenced.settings import Settings, SettingsError
from presenced.sources.kafka.access import KafkaAccess
from presenced.sources.kafka.kafka_source import KafkaSource
from presenced.sources.kafka.trial import try_settings
from presenced.sources.source import SourceFiles
from waiting import until, wait_for

REFUSING = {"bootstrap_servers": ["127.0.0.1:1"], "security": {"protocol": "PLAINTEXT"}}


@asynccontextmanager
async def source_of(settings: Settings) -> AsyncIterator[KafkaSource]:
    """A source that tries to join."""
    access = KafkaAccess(RequestCounts({}), CLOCKS)
    source = KafkaSource(Fleets(settings, 1).open, access, CLOCKS)
    await source.use(settings, SourceFiles())
    try:
        yield source
    finally:
        await source.stop()


def test_a_trial_that_fails_leaves_no_client() -> None:
    config = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    with nothing_collected():
        before = clients()
        with pytest.raises(SettingsError) as refused:
            asyncio.run(try_settings(kafka_settings(kafka=REFUSING), config))
        wait_for(lambda: clients() == before, what="no client")
    assert "refused the TCP connection" in str(refused.value)


def test_a_group_that_cannot_be_joined_leaves_no_client() -> None:
    async def main() -> None:
        async with source_of(kafka_settings(kafka=REFUSING)) as source:
            await until(lambda: "refused the TCP" in source.summary, what="the attempt has failed")

    with nothing_collected():
        before = clients()
        asyncio.run(main())
        wait_for(lambda: clients() == before, what="no client")


def test_settings_whose_files_were_missing_are_used_once_they_are_there(
    certificates: Certificates, tmp_path: Path
) -> None:
    def settings(port: int, authority: Path) -> Settings:
        security = {"protocol": "SSL", "ca": str(authority)}
        return kafka_settings(
            kafka={"bootstrap_servers": [f"127.0.0.1:{port}"], "security": security}
        )

    copy = tmp_path / "authority.pem"

    async def main() -> None:
        async with source_of(settings(1, certificates.ca)) as source:
            with pytest.raises(SettingsError):
                await source.use(settings(2, copy), SourceFiles())
            copy.write_bytes(certificates.ca.read_bytes())
            assert await source.use(settings(2, copy), SourceFiles()) == 1
            await until(lambda: "127.0.0.1:2" in source.summary, what="the new address")

    asyncio.run(main())
