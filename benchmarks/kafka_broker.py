"""An Apache Kafka of one's own: one node in KRaft mode on loopback."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from benchmarks.events import Event
from benchmarks.processes import Process, free_port
from benchmarks.waiting import wait_for

__all__ = [
    "EVENTS_TOPIC",
    "GROUP",
    "STATE_TOPIC",
    "KafkaBroker",
    "Record",
    "kafka_version",
    "record",
]

EVENTS_TOPIC, STATE_TOPIC, GROUP = "presenced.events", "presenced.state", "presenced"

_JARS = Path("build/kafka")
_CLUSTER_ID = "cHJlc2VuY2VkLWJlbmNobQ"
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.min.heartbeat.interval.ms": 500,
}


class Record(NamedTuple):
    """A record as an IoT rule writes it; `timestamp` is in milliseconds since the epoch."""

    key: str
    value: bytes
    timestamp: int


def record(event: Event, timestamp: int) -> Record:
    """An event as `SELECT *, topic() AS topic` makes it, keyed by `${clientId}`."""
    value = b'%s, "topic": "%s"}' % (event.payload[:-1], event.topic.encode())
    return Record(event.topic.rpartition("/")[2], value, timestamp)


class KafkaBroker(Process):
    """A Kafka with its own defaults, but for the properties in `settings`."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.port, controller = free_port(), free_port()
        config = directory / "server.properties"
        properties = {
            **_SETTINGS,
            "log.dirs": directory / "kafka",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        shutil.rmtree(directory / "kafka", ignore_errors=True)
        format_storage = ["kafka.tools.StorageTool", "format", "--standalone"]
        subprocess.run(
            [*_java(), *format_storage, "-c", str(config), "-t", _CLUSTER_ID],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        super().__init__([*_java(), "-Xmx1g", "kafka.Kafka", str(config)], directory / "kafka.log")
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        wait_for(self._answers, "Kafka answers", within=120.0)

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        self.check()
        try:
            return bool(self._admin.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False

    def produce(self, records: Iterable[Record]) -> None:
        """Write records into the topic of events."""
        failed: list[object] = []
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
                "delivery.report.only.error": True,
                "error_cb": failed.append,
            }
        )
        for each in records:
            producer.produce(EVENTS_TOPIC, each.value, each.key, timestamp=each.timestamp)
        if producer.flush(120) or failed:
            raise SystemExit(f"not all records were produced: {failed}")

    def committed(self) -> int:
        """How many events the group has taken, over all partitions: the sum of its positions.

        A worker must have joined before: asked for an unknown group, confluent-kafka 2.16 crashed.
        """
        request = ConsumerGroupTopicPartitions(GROUP)
        answer = self._admin.list_consumer_group_offsets([request], require_stable=False)[GROUP]
        places = answer.result(30).topic_partitions or []
        return sum(max(0, each.offset) for each in places if each.topic == EVENTS_TOPIC)


def kafka_version() -> str:
    """The version of the jars."""
    jars = (path.stem for path in _JARS.glob("kafka_*-*.jar"))
    return next((name.rpartition("-")[2] for name in jars), "unknown")


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise SystemExit("Java is not installed: apt-get install default-jre-headless")
    if not (_JARS / ".jars").exists():
        raise SystemExit(f"the jars of Kafka are missing: make {_JARS}/.jars")
    return [java, "-cp", f"{_JARS}/*"]
