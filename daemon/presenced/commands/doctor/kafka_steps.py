"""The steps of Kafka, as far as they go without joining the consumer group."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from presenced.commands.doctor.report import Finding, Status
from presenced.commands.doctor.steps import check_files
from presenced.commands.kafka.cluster import needing, open_cluster
from presenced.commands.output import counted
from presenced.settings import Settings
from presenced.settings.files import FileSnapshot
from presenced.sources.kafka import network
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.cluster_checks import lease_limit
from presenced.sources.kafka.faults import KafkaFault, KafkaFaultError
from presenced.sources.kafka.permissions import (
    Permission,
    denied,
    group_permission,
    topic_permission,
    transaction_permission,
)
from presenced.sources.kafka.topics import FoundTopic, Topic, TopicCheck, describe, four_topics
from presenced.system.loop import in_thread

_CLIENT_ID = "presenced-doctor"


class _Step(NamedTuple):
    name: str
    check: Callable[[Cluster], Finding]


class KafkaProbe:
    """The requests that a worker makes, but those of a member of the group.

    What is written is a transactional ID without records.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._snapshot = FileSnapshot()
        self._found: dict[str, FoundTopic] = {}
        self._recorded: int | None = None
        self._reached = False
        self._brokers: list[str] = []

    async def findings(self) -> AsyncIterator[tuple[str, Finding]]:
        """Yield each step with its finding. Steps that need what has failed are skipped."""
        async for name, finding in self._network():
            yield name, finding
        async with AsyncExitStack() as stack:
            cluster, finding = await self._open(stack)
            yield "authentication", finding
            finding = await _finding(self._reach_brokers) if cluster else Finding(Status.SKIPPED)
            yield "advertised addresses", finding
            cluster = cluster if finding.status is Status.OK else None
            for name, check in self._steps():
                if cluster is None:
                    yield name, Finding(Status.SKIPPED)
                else:
                    yield name, await _finding(partial(check, cluster))

    async def _network(self) -> AsyncIterator[tuple[str, Finding]]:
        """Yield the steps before Kafka's protocol. One server that can be reached is enough."""
        security = self._kafka.security
        encrypted, usable = security.protocol != "PLAINTEXT", True
        if encrypted:
            check = partial(check_files, security, datetime.now(UTC), "kafka.security")
            finding = await _finding(check)
            usable = finding.status is not Status.FAILED
            yield "certificate files", finding
        for server in self._kafka.bootstrap_servers:
            finding = await _finding(partial(_resolve, server))
            yield f"name resolution {server}", finding
            if finding.status is Status.FAILED or not usable:
                finding = Finding(Status.SKIPPED)
            else:
                finding = await _finding(partial(self._negotiate, server))
                self._reached |= finding.status is Status.OK
            yield f"{'TCP and TLS' if encrypted else 'TCP'} {server}", finding

    async def _open(self, stack: AsyncExitStack) -> tuple[Cluster | None, Finding]:
        if not self._reached:
            return None, Finding(Status.SKIPPED)
        try:
            opening = open_cluster(self._settings, _CLIENT_ID)
            cluster = await stack.enter_async_context(opening)
        except KafkaFaultError as error:
            return None, _failed(error.fault)
        finding = await _finding(partial(self._authenticate, cluster))
        return (cluster if finding.status is Status.OK else None), finding

    def _negotiate(self, server: str) -> Finding:
        agreed = network.negotiate(server, self._kafka.security, self._snapshot)
        return Finding(Status.OK, agreed)

    def _authenticate(self, cluster: Cluster) -> Finding:
        security, self._brokers = self._kafka.security, cluster.connect()
        if security.mechanism is not None:
            user = f"as {security.username} " if security.username else ""
            return Finding(Status.OK, f"{user}by {security.mechanism}")
        return Finding(Status.OK, "by the client certificate" if security.cert else "anonymous")

    def _reach_brokers(self) -> Finding:
        """Connect to each broker by the address that the cluster gives to its clients."""
        for server in self._brokers:
            if server not in self._kafka.bootstrap_servers:
                network.resolve(server, advertised=True)
                network.negotiate(server, self._kafka.security, self._snapshot, advertised=True)
        return Finding(Status.OK, f"{counted(len(self._brokers), 'broker')} can be reached")

    def _steps(self) -> Iterator[_Step]:
        # The state topic comes first: it tells how many partitions there must be.
        topics = four_topics(self._kafka)[::-1]
        for topic in topics:
            yield _Step(f"topic {topic.name}", partial(self._topic, topic))
        for topic in topics:
            yield _Step(f"permissions for {topic.name}", partial(self._permissions, topic))
        yield _Step("leaders of partitions", self._leaders)
        yield _Step(f"group {self._kafka.group}", self._group)
        yield _Step("transactions", self._transactions)

    def _topic(self, topic: Topic, cluster: Cluster) -> Finding:
        with needing(Permission("topic", topic.name, ("Describe",)), self._settings):
            found = cluster.find(topic.name)
        if found is not None:
            self._found[topic.name] = found
            if topic.name == self._kafka.state_topic:
                with needing(Permission("topic", topic.name, ("Read",)), self._settings):
                    self._recorded = cluster.recorded_partitions()
        check = TopicCheck(self._kafka, self._found, self._recorded)
        for faults, status in (
            (check.faults(topic), Status.FAILED),
            (check.warnings(topic), Status.WARNING),
        ):
            if faults:
                details = "; ".join(fault.detail for fault in faults)
                remedies = ". ".join(dict.fromkeys(fault.remedy for fault in faults))
                return Finding(status, details, remedies)
        return Finding(Status.OK, describe(topic, self._found[topic.name]))

    def _permissions(self, topic: Topic, cluster: Cluster) -> Finding:
        if topic.name not in self._found:
            return Finding(Status.SKIPPED)
        asks_aws = self._settings.reconcile.enabled
        needed = topic_permission(self._kafka, topic.name, asks_aws=asks_aws)
        return self._compare(needed, cluster.topic_operations(topic.name))

    def _leaders(self, cluster: Cluster) -> Finding:
        if not self._found:
            return Finding(Status.SKIPPED)
        for found in self._found.values():
            with needing(Permission("topic", found.name, ("Describe",)), self._settings):
                cluster.ends(found)
        number = sum(found.partitions for found in self._found.values())
        return Finding(Status.OK, f"those of {counted(number, 'partition')} answer")

    def _group(self, cluster: Cluster) -> Finding:
        needed = group_permission(self._kafka)
        with needing(needed, self._settings):
            group = cluster.group()
        finding = self._compare(needed, group.operations)
        if finding.status is not Status.OK:
            return finding
        if (fault := lease_limit(cluster, self._kafka).fault) is not None:
            return Finding(Status.WARNING, fault.detail, fault.remedy)
        state = f"{group.state}, {counted(group.members, 'member')}"
        return Finding(Status.OK, "no members yet" if group.state == "dead" else state)

    def _transactions(self, cluster: Cluster) -> Finding:
        with needing(transaction_permission(self._kafka), self._settings):
            cluster.try_transactions()
        return Finding(Status.OK, "this user may write in transactions")

    def _compare(self, needed: Permission, granted: frozenset[str] | None) -> Finding:
        if granted is None:
            return Finding(Status.SKIPPED, "the cluster does not say what this user may do")
        missing = [each for each in needed.operations if each not in granted]
        if missing:
            fault = denied(self._kafka, needed.only(missing), self._settings.brokers_region)
            return _failed(fault)
        return Finding(Status.OK, ", ".join(needed.operations))


def _resolve(server: str) -> Finding:
    return Finding(Status.OK, f"is {', '.join(network.resolve(server))}")


async def _finding(check: Callable[[], Finding]) -> Finding:
    """Return the finding of a check, which blocks."""
    try:
        return await in_thread(check, name="doctor")
    except KafkaFaultError as error:
        return _failed(error.fault)


def _failed(fault: KafkaFault) -> Finding:
    detail = f'{fault.detail} (the broker said: "{fault.said}")' if fault.said else fault.detail
    return Finding(Status.FAILED, detail, fault.remedy)
