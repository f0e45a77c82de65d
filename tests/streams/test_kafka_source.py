"""The source in this process, on a real broker: what no process from outside can be brought to."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from certificates import Certificates
from kafka_config import TOPICS, by_password, settings_of
from kafka_fleet import Publisher
from kafka_server import Kafka
from librdkafka import clients, nothing_collected
from partition_fleets import CLOCKS, Fleets, kafka_settings
from presenced.aws.client import RequestCounts
from presenced.aws.snapshot import SnapshotTargetError
from presenced.presence import State
from presenced.service.partition_fleet import ShardFleet
from presenced.settings import Settings
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.access import KafkaAccess
from presenced.sources.kafka.client_config import client_config
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.cluster_checks import LeaseLimit
from presenced.sources.kafka.consumer import GroupConsumer
from presenced.sources.kafka.faults import KafkaFaultError, no_answer
from presenced.sources.kafka.kafka_source import KafkaSource
from presenced.sources.kafka.partition import OwnedPartition
from presenced.sources.kafka.snapshot_records import GapReport
from presenced.sources.kafka.topics import PARTITIONS_KEY
from presenced.sources.source import SourceFiles
from presenced.system.loop import Clocks
from waiting import until, wait_for

PARTITIONS = 2
IDS = [f"device-{number}" for number in range(40)]


class Site:
    """Topics of their own, and a source that reads them; `fleets` are its partitions'."""

    def __init__(self, kafka: Kafka, partitions: int = PARTITIONS, **options: Any) -> None:
        self.kafka = kafka
        self.partitions = partitions
        self.section = settings_of(kafka, **options)
        for key in TOPICS:
            single = key.startswith("global")
            is_state = key.endswith("state_topic")
            config = (
                {"cleanup_policy": "compact"}
                if is_state
                else {"message_timestamp_type": "LogAppendTime"}
            )
            kafka.create_topic(self.section[key], 1 if single else partitions, **config)
        self.publisher = Publisher(kafka, self.section["topic"])

    @asynccontextmanager
    async def source(
        self, clocks: Clocks = CLOCKS, access: KafkaAccess | None = None, **sections: Any
    ) -> AsyncIterator[tuple[KafkaSource, Fleets]]:
        """A source that has been started."""
        settings = kafka_settings(
            kafka=self.section,
            presence={"offline_delay": "5s"},
            aws={"region": "eu-west-1", "data_url": "https://127.0.0.1:1"},
            **sections,
        )
        fleets = Fleets(settings, self.partitions, clocks)
        access = access or KafkaAccess(RequestCounts({}), clocks)
        source = KafkaSource(fleets.open, access, clocks)
        await source.use(settings, SourceFiles())
        try:
            yield source, fleets
        finally:
            await source.stop()


async def checked(
    source: KafkaSource, condition: Callable[[], object], what: str, seconds: float = 40
) -> None:
    """Let the source work as the daemon does, until the condition holds."""

    def check_and_look() -> object:
        source.check()
        return condition()

    await until(check_and_look, seconds, what)


async def ready(source: KafkaSource) -> None:
    await checked(source, lambda: not source.problems, "ready")


def test_a_partition_that_the_library_does_not_fetch_is_read_again(kafka: Kafka) -> None:
    site = Site(kafka, partitions=1)
    now = time.monotonic()

    async def main() -> None:
        async with site.source(Clocks(lambda: now, time.time)) as (source, fleets):
            await ready(source)
            site.publisher.report(*IDS[:10], connected=True)
            await checked(source, lambda: len(fleets.clients) == 10, "the first events")
            # Records before the expected offset are left out, so none of these is delivered.
            partition = source.owned[0]
            partition.delivered += 1000
            site.publisher.report(*IDS, connected=True)
            await checked(source, lambda: partition.end >= 10 + len(IDS), "all read")
            partition.delivered -= 1000
            partition.end = -1
            assert len(fleets.clients) == 10

            def later() -> bool:
                nonlocal now
                now += 0.25
                return len(fleets.clients) == len(IDS)

            await checked(source, lambda: source.lag == {0: len(IDS)}, "the lag is shown")
            await checked(source, later, "read again")
            await checked(source, lambda: source.lag == {0: 0}, "no lag")

    asyncio.run(main())


def test_the_clock_of_a_broker_that_is_behind_makes_no_offline(kafka: Kafka) -> None:
    site = Site(kafka, partitions=1)
    behind = 3600.0
    clocks = Clocks(time.monotonic, lambda: time.time() + behind)

    async def main() -> None:
        async with site.source(clocks) as (source, fleets):
            await ready(source)
            assert source.warnings == []
            for number in range(6):
                site.publisher.report(IDS[number], connected=True)
                await checked(
                    source,
                    lambda n=number: source.owned[0].end == len(fleets.clients) == n + 1,
                    "read",
                )
            (warning,) = source.warnings
            assert "the clock of this machine is 1h ahead of that of the broker" in warning
            before = time.monotonic()
            site.publisher.report(IDS[0], connected=False)
            await checked(
                source, lambda: fleets.clients[IDS[0]].state is not State.ONLINE, "applied"
            )
            presence = next(iter(fleets.shards)).fleet.presence
            if fleets.clients[IDS[0]].state is State.PENDING:
                deadline = presence.deadlines.next
                assert deadline is not None
                assert deadline > before + 5 - 0.01
            else:
                assert time.monotonic() > before + 5

    asyncio.run(main())


def test_a_damaged_record_of_the_partitions_is_a_problem_until_it_is_gone(kafka: Kafka) -> None:
    site = Site(kafka)
    state = site.section["state_topic"]
    for number in range(PARTITIONS):
        kafka.produce(state, (PARTITIONS_KEY.decode(), b"damaged"), partition=number)

    async def main() -> None:
        async with site.source() as (source, _):
            await checked(source, lambda: "log" in str(source.problems), "the problem")
            kafka.admin.delete_topics([state])[state].result(30)
            await checked(source, lambda: "does not exist" in str(source.problems), "it is gone")
            kafka.create_topic(state, PARTITIONS, cleanup_policy="compact")
            await ready(source)

    asyncio.run(main())


class TokenAccess(KafkaAccess):
    """Gives what KafkaAccess does with AWS_MSK_IAM, with tokens that Apache Kafka takes.

    As the tokens of Amazon MSK they are made on the event loop.
    """

    def __init__(self) -> None:
        super().__init__(RequestCounts({}), CLOCKS)
        self.tokens = 0
        self._loop = asyncio.get_running_loop()

    async def read(
        self, settings: Settings, report: Callable[[KafkaError], None]
    ) -> Mapping[str, Any]:
        return client_config(settings.kafka, FileSnapshot(), report, tokens=self._token)

    def _token(self, _: str | None) -> tuple[str, float]:
        made = asyncio.run_coroutine_threadsafe(self._make(), self._loop)
        return made.result(15)

    async def _make(self) -> tuple[str, float]:
        self.tokens += 1
        return unsigned_token("msk"), time.time() + 900


def unsigned_token(user: str) -> str:
    """An unsecured JSON web token (RFC 7519 section 6)."""
    now = time.time()
    parts = [{"alg": "none"}, {"sub": user, "iat": now, "exp": now + 900}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return b".".join([*(part.rstrip(b"=") for part in encoded), b""]).decode()


def test_tokens_that_the_event_loop_makes(kafka: Kafka, certificates: Certificates) -> None:
    site = Site(
        kafka,
        bootstrap_servers=[kafka.sasl_bootstrap],
        security={
            "protocol": "SASL_SSL",
            "ca": str(certificates.ca),
            "mechanism": "AWS_MSK_IAM",
        },
    )
    for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
        name = site.section["group"]
        kafka.allow("msk", AclOperation.ALL, kind, name, ResourcePatternType.PREFIXED)

    async def main() -> None:
        access = TokenAccess()
        reconcile = {"enabled": True}
        async with site.source(access=access, reconcile=reconcile) as (source, fleets):
            await ready(source)
            assert access.tokens > 0
            site.publisher.report(*IDS, connected=True)
            await checked(source, lambda: len(fleets.clients) == len(IDS), "applied")
            before = kafka.records(site.section["topic"], 1)
            await source.events_writer().write(GapReport(partition=0, at=time.time()), 1)
            assert len(kafka.records(site.section["topic"], 1)) == len(before) + 1
            kafka.deny("msk", AclOperation.WRITE, ResourceType.TOPIC, site.section["topic"])
            with pytest.raises(SnapshotTargetError) as denied:
                await source.events_writer().write(GapReport(partition=0, at=time.time()), 1)
            topic = site.section["topic"]
            assert f"this user lacks a permission on the topic {topic}" in str(denied.value)
            assert "Read and Write" in str(denied.value)

    asyncio.run(main())


def test_an_attempt_to_join_that_fails_late_leaves_no_client(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topics are as they must be, and then the broker does not answer."""
    site = Site(kafka)

    def unanswered(cluster: Cluster, section: KafkaSettings) -> LeaseLimit:
        del cluster, section
        raise KafkaFaultError(no_answer(kafka_settings().kafka.security))

    monkeypatch.setattr("presenced.sources.kafka.cluster_watch.lease_limit", unanswered)

    async def main() -> None:
        async with site.source() as (source, _):
            await until(lambda: "answer no request" in source.summary, what="it has failed")
            await until(lambda: clients() == before, what="no client")

    with nothing_collected():
        before = clients()
        asyncio.run(main())


def test_changed_files_are_used_only_if_the_brokers_accept_them(
    kafka: Kafka, certificates: Certificates, tmp_path: Path
) -> None:
    site = Site(kafka)
    for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
        name = site.section["group"]
        kafka.allow("alice", AclOperation.ALL, kind, name, ResourcePatternType.PREFIXED)
    login = by_password(kafka, certificates, tmp_path)
    authority = tmp_path / "authority.pem"
    authority.write_bytes(certificates.ca.read_bytes())
    login["security"]["ca"] = str(authority)
    site.section |= login
    password = Path(login["security"]["password_file"])

    async def main() -> None:
        async with site.source() as (source, _):
            await ready(source)
            worker, before = source.worker, clients()
            password.write_text("not-the-password")
            assert await source.renew() == 0
            assert source.worker is worker
            assert source.problems == []
            (warning,) = source.warnings
            assert "changed files are not used" in warning
            assert "does not accept the password" in warning
            await until(lambda: clients() == before, what="the trial leaves no client")
            password.write_text("alice-secret")
            assert await source.renew() == 0
            assert source.warnings == []
            authority.write_bytes(certificates.ca.read_bytes() + b"\n")
            assert await source.renew() == 1
            await ready(source)
            await until(lambda: clients() == before, what="the former worker leaves no client")

    with nothing_collected():
        asyncio.run(main())


class Listener:
    """Takes what a consumer reports; `gaps` are the partitions whose events are missing."""

    def __init__(self, fleets: Sequence[ShardFleet]) -> None:
        self.owned: dict[int, OwnedPartition] = {}
        self.gaps: dict[int, int] = {}
        self.errors: list[KafkaError] = []
        self.has_ended = False
        self._fleets = fleets

    def assigned(self, partitions: Any) -> None:
        for each in partitions:
            each.fleet = self._fleets[each.number]
            self.owned[each.number] = each

    def revoked(self, partitions: Any) -> None:
        pass

    def lost(self, partitions: Any) -> None:
        pass

    def out_of_range(self, partition: OwnedPartition, position: int) -> None:
        self.gaps[partition.number] = position

    def error(self, error: KafkaError, topic: str | None) -> None:
        self.errors.append(error)

    def ended(self) -> None:
        self.has_ended = True


def test_nothing_is_delivered_after_a_gap_before_it_was_noted(kafka: Kafka) -> None:
    site = Site(kafka)
    topic = site.section["topic"]
    for number in range(PARTITIONS):
        kafka.produce(topic, *[(None, b"{}")] * 3, partition=number)
    kafka.admin.delete_records([TopicPartition(topic, 0, 2)])[TopicPartition(topic, 0)].result(30)

    async def main() -> None:
        # The loop delivers nothing here, so that the inboxes keep what they get.
        fleets = Fleets(kafka_settings(), PARTITIONS)
        listener = Listener([fleets.open(number) for number in range(PARTITIONS)])
        consumer = GroupConsumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": site.section["group"],
                "group.protocol": "consumer",
                "auto.offset.reset": "error",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            },
            topic,
            listener,
            CLOCKS,
        )
        consumer.start()
        wait_for(lambda: len(listener.owned) == PARTITIONS, what="assigned")
        first, other = (listener.owned[number] for number in range(PARTITIONS))
        consumer.begin(first, 0)
        consumer.begin(other, 0)
        wait_for(lambda: listener.gaps == {0: 2}, what="the gap")
        for more in range(1, 6):
            kafka.produce(topic, (None, b"{}"), partition=1)
            wait_for(lambda n=more: inbox_of(other) == 3 + n, what="the other partition goes on")
        assert inbox_of(first) == 0
        consumer.begin(first, listener.gaps[0])
        wait_for(lambda: inbox_of(first) == 1, what="what follows the gap")
        consumer.stop()
        assert consumer.join(20)
        assert listener.has_ended

    asyncio.run(main())


def inbox_of(partition: OwnedPartition) -> int:
    assert partition.fleet is not None
    return partition.fleet.inbox.backlog
