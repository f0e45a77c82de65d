"""Create the topics that are missing, and refuse to work with those that are wrong."""

from functools import partial

from presenced.commands.kafka.cluster import needing, open_cluster
from presenced.commands.output import CommandError, counted, print_line
from presenced.settings import Settings
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.faults import KafkaFault, KafkaFaultError
from presenced.sources.kafka.permissions import Permission, denied
from presenced.sources.kafka.topics import (
    FoundTopic,
    Topic,
    TopicCheck,
    describe,
    four_topics,
)
from presenced.system.loop import in_thread

_DEFAULT_PARTITIONS = 24


async def create_topics(
    settings: Settings, partitions: int | None, replication_factor: int | None
) -> None:
    """Create what is missing, and print a line for each topic.

    Without `partitions` there are as many as an existing topic has, else 24; without
    `replication_factor` the cluster's default. Nothing is created if a topic is wrong. Raises
    CommandError.
    """
    try:
        async with open_cluster(settings, "presenced-create-topics") as cluster:
            creation = _Creation(settings, cluster)
            await in_thread(partial(creation.run, partitions, replication_factor), name="kafka")
    except KafkaFaultError as error:
        raise CommandError(str(error)) from None


class _Creation:
    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._cluster = cluster

    def run(self, partitions: int | None, replication_factor: int | None) -> None:
        self._cluster.connect()
        found = self._find()
        recorded = self._recorded(found)
        check = TopicCheck(self._kafka, found, recorded, partitions)
        if wrong := self._wrong(check, found):
            raise CommandError("\n".join(["nothing was created.", *map(str, wrong)]))
        number = check.partitions or _DEFAULT_PARTITIONS
        for topic in four_topics(self._kafka):
            self._create(topic, number, replication_factor, found.get(topic.name))
            for warning in check.warnings(topic):
                print_line(f"warning: {warning}")
        if recorded is None:
            with needing(Permission("topic", self._kafka.state_topic, ("Write",)), self._settings):
                self._cluster.record_partitions(number)
            print_line(f"{self._kafka.state_topic}: recorded that there are {number} partitions")

    def _find(self) -> dict[str, FoundTopic]:
        found = {}
        for topic in four_topics(self._kafka):
            operations = Permission("topic", topic.name, ("Describe", "DescribeConfigs"))
            with needing(operations, self._settings):
                there = self._cluster.find(topic.name)
            if there is None:
                continue
            if there.settings is None:
                missing = operations.only(["DescribeConfigs"])
                raise KafkaFaultError(denied(self._kafka, missing, self._settings.brokers_region))
            found[topic.name] = there
        return found

    def _recorded(self, found: dict[str, FoundTopic]) -> int | None:
        if self._kafka.state_topic not in found:
            return None
        with needing(Permission("topic", self._kafka.state_topic, ("Read",)), self._settings):
            return self._cluster.recorded_partitions()

    def _wrong(self, check: TopicCheck, found: dict[str, FoundTopic]) -> list[KafkaFault]:
        there = [topic for topic in four_topics(self._kafka) if topic.name in found]
        faults = [fault for topic in there for fault in check.faults(topic)]
        return faults or check.conflict()

    def _create(
        self, topic: Topic, number: int, replication_factor: int | None, there: FoundTopic | None
    ) -> None:
        if there is not None:
            print_line(f"{topic.name}: exists ({describe(topic, there)})")
            return
        with needing(Permission("topic", topic.name, ("Create",)), self._settings):
            created = self._cluster.create(topic, number, replication_factor)
        count = counted(1 if topic.single else number, "partition")
        print_line(f"{topic.name}: {f'created with {count}' if created else 'exists by now'}")
