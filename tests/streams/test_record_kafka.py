"""`presenced record` of Kafka: without a group, in the order of time, fit for a replay."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType

from certificates import Certificates
from kafka_config import by_password, settings_of, write_config
from kafka_fleet import Publisher
from kafka_server import Kafka
from presenced.events.message import Message
from presenced.sources.kafka.time_order import Place
from presenced.sources.kafka.topic_reader import TopicReader
from presenced.system.loop import Clocks
from recorder_process import RecorderProcess, replayed
from waiting import wait_for

PARTITIONS = 3
HOUR = 3600.0
Make = Callable[..., RecorderProcess]
Event = tuple[float, str, bool]
"""When a client connects or disconnects, and its ID."""


@pytest.fixture
def recorder_of(tmp_path: Path) -> Iterator[Make]:
    """Starts `presenced record` with a section `kafka`."""
    made: list[RecorderProcess] = []

    def make(section: dict[str, Any], *arguments: str, **sections: Any) -> RecorderProcess:
        config = Path(write_config(tmp_path, section, **sections))
        out = tmp_path / f"recording-{len(made)}.jsonl"
        made.append(RecorderProcess(config, out, out.with_suffix(".log"), *arguments))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def site(kafka: Kafka, *, timestamps: str = "LogAppendTime", **more: Any) -> dict[str, Any]:
    """A section `kafka` whose two topics of events exist."""
    section = settings_of(kafka, **more)
    kafka.create_topic(section["topic"], PARTITIONS, message_timestamp_type=timestamps)
    kafka.create_topic(section["global_topic"], 1, message_timestamp_type=timestamps)
    return section


def lines_of(recorder: RecorderProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for path in recorder.files for line in path.read_bytes().splitlines()]


def record_of(event: Event) -> bytes:
    at, client_id, connected = event
    kind = "connected" if connected else "disconnected"
    payload: dict[str, Any] = {
        "topic": f"$aws/events/presence/{kind}/{client_id}",
        "clientId": client_id,
        "timestamp": round(at * 1000),
        "eventType": kind,
    }
    if not connected:
        payload["disconnectReason"] = "CONNECTION_LOST"
    return json.dumps(payload).encode()


def produce_at(kafka: Kafka, topic: str, partition: int, events: Sequence[Event]) -> None:
    """Write events that entered a partition at their times; the topic has CreateTime."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for event in events:
        value, at = record_of(event), round(event[0] * 1000)
        producer.produce(topic, value, event[1], partition, timestamp=at)
    assert producer.flush(30) == 0


def day_of(client_id: str, began: float) -> list[Event]:
    """A client that flaps each half hour, and is offline for the second half of each hour."""
    return [
        event
        for hour in range(3)
        for event in (
            (began + hour * HOUR, client_id, True),
            (began + hour * HOUR + 900, client_id, False),
            (began + hour * HOUR + 901, client_id, True),
            (began + hour * HOUR + 1800, client_id, False),
        )
    ]


def test_what_enters_the_topics_is_recorded_beside_a_group(kafka: Kafka, recorder_of: Make) -> None:
    section = site(kafka)
    publisher = Publisher(kafka, section["topic"])
    publisher.report("before", connected=True)
    recorder = recorder_of(section)
    recorder.wait_until_reading()
    clients = [f"device-{number}" for number in range(50)]
    publisher.report(*clients, connected=True)
    group = {"topic": "$aws/events/thingGroup/north/created", "operation": "CREATED"}
    kafka.produce(section["global_topic"], ("north", json.dumps(group).encode()))
    kafka.produce(section["topic"], (None, b"no event at all"))
    # What a worker writes of a snapshot is no event.
    kafka.produce(section["topic"], (None, b"{}"), headers={"presenced": b"1"})
    wait_for(lambda: recorder.holds(52), what="all records in the file")
    assert recorder.stop() == 0

    lines = lines_of(recorder)
    assert [line["received"] for line in lines] == sorted(line["received"] for line in lines)
    connects = {f"$aws/events/presence/connected/{name}" for name in clients}
    assert connects < {line["topic"] for line in lines}
    assert {"$aws/events/thingGroup/north/created", ""} <= {line["topic"] for line in lines}
    assert "Recorded 52 messages" in recorder.log
    assert "1 record had no topic" in recorder.log
    assert {client["client_id"] for client in replayed(recorder.files)} == set(clients)
    described = kafka.admin.describe_consumer_groups([section["group"]])
    assert described[section["group"]].result(30).state is ConsumerGroupState.DEAD


def test_received_is_when_the_record_entered(kafka: Kafka, recorder_of: Make) -> None:
    section = site(kafka)
    Publisher(kafka, section["topic"]).report("a", "b", "c", connected=True)
    entered = []
    for number in range(PARTITIONS):
        with kafka.consumer("reader") as consumer:
            consumer.assign([TopicPartition(section["topic"], number, 0)])
            while (record := consumer.poll(5 if not entered else 0.5)) is not None:
                entered.append(record.timestamp()[1] / 1000)
    recorder = recorder_of(section, "--start", "beginning")
    wait_for(lambda: recorder.holds(3), what="all records in the file")
    assert recorder.stop() == 0
    assert [line["received"] for line in lines_of(recorder)] == sorted(entered)


def test_an_order_of_time_over_partitions_and_what_a_replay_makes_of_it(
    kafka: Kafka, recorder_of: Make
) -> None:
    """A partition is read faster than another: without an order hours would be flaps."""
    section = site(kafka, timestamps="CreateTime")
    began = time.time() // HOUR * HOUR - 24 * HOUR
    events = [day_of(f"device-{number}", began + number) for number in range(PARTITIONS)]
    for number in range(PARTITIONS):
        produce_at(kafka, section["topic"], number, events[number])
    recorder = recorder_of(section, "--start", "beginning")
    wait_for(lambda: recorder.holds(12 * PARTITIONS), what="all records in the file")
    assert recorder.stop() == 0
    lines = lines_of(recorder)
    assert [line["received"] for line in lines] == sorted(at for day in events for at, *_ in day)
    transitions = replayed(recorder.files, shown="transitions")
    for number in range(PARTITIONS):
        name, first = f"device-{number}", began + number
        found = [(each["to"], each["since"]) for each in transitions if each["client_id"] == name]
        assert found == [
            each
            for hour in range(3)
            for each in (("online", first + hour * HOUR), ("offline", first + hour * HOUR + 1800))
        ]


def test_a_part_of_the_past(kafka: Kafka, recorder_of: Make) -> None:
    section = site(kafka, timestamps="CreateTime")
    began = time.time() // HOUR * HOUR - 24 * HOUR
    for number in range(PARTITIONS):
        events = day_of(f"device-{number}", began + number)
        produce_at(kafka, section["topic"], number, events)
    start = datetime.fromtimestamp(began + HOUR, UTC).isoformat()
    recorder = recorder_of(section, "--start", start, "--duration", "20m")
    assert recorder.wait() == 0, recorder.log
    received = [line["received"] for line in lines_of(recorder)]
    assert received == sorted(
        began + number + HOUR + after for number in range(PARTITIONS) for after in (0, 900, 901)
    )


def test_the_last_hour_up_to_now(kafka: Kafka, recorder_of: Make) -> None:
    section = site(kafka)
    Publisher(kafka, section["topic"]).report("a", "b", "c", connected=True)
    recorder = recorder_of(section, "--start", "1h", "--duration", "1h")
    assert recorder.wait() == 0, recorder.log
    assert {each["client_id"] for each in replayed(recorder.files)} == {"a", "b", "c"}


def test_a_recording_ends_by_itself(kafka: Kafka, recorder_of: Make) -> None:
    recorder = recorder_of(site(kafka), "--duration", "1s")
    assert recorder.wait() == 0
    assert "Recorded 0 messages, 0 bytes in 1 file." in recorder.log


def test_pseudonyms(kafka: Kafka, recorder_of: Make) -> None:
    section = site(kafka)
    Publisher(kafka, section["topic"]).report("pump-1", "pump-2", connected=True)
    kafka.produce(section["topic"], (None, b"pump-1 is no event"))
    recorder = recorder_of(section, "--anonymize", "--start", "beginning")
    wait_for(lambda: recorder.holds(3), what="all records in the file")
    assert recorder.stop() == 0
    assert "pump" not in recorder.out.read_text()
    assert len(replayed(recorder.files)) == 2


def test_brokers_that_were_down(kafka_of: Any, recorder_of: Make) -> None:
    kafka: Kafka = kafka_of()
    section = site(kafka)
    recorder = recorder_of(section)
    recorder.wait_until_reading()
    Publisher(kafka, section["topic"]).report("a", "b", "c", connected=True)
    wait_for(lambda: recorder.holds(3), what="what came before")
    kafka.stop()
    kafka.start()
    Publisher(kafka, section["topic"]).report("a", "b", "c", connected=False)
    wait_for(lambda: recorder.holds(6), 60, "what came afterwards")
    assert recorder.stop() == 0
    assert "problem in presenced" not in recorder.log
    assert {each["state"] for each in replayed(recorder.files)} == {"offline"}


def allow(kafka: Kafka, topic: str) -> None:
    kafka.allow("alice", AclOperation.READ, ResourceType.TOPIC, topic)


@pytest.fixture
def alice(kafka: Kafka, certificates: Certificates, tmp_path: Path) -> dict[str, Any]:
    return site(kafka, **by_password(kafka, certificates, tmp_path))


def test_reading_the_two_topics_is_the_only_permission_needed(
    kafka: Kafka, recorder_of: Make, alice: dict[str, Any]
) -> None:
    allow(kafka, alice["topic"])
    allow(kafka, alice["global_topic"])
    recorder = recorder_of(alice)
    recorder.wait_until_reading()
    Publisher(kafka, alice["topic"]).report("a", "b", "c", connected=True)
    wait_for(lambda: recorder.holds(3), what="all records in the file")
    assert recorder.stop() == 0
    assert "alice-secret" not in recorder.log
    assert "authorization" not in recorder.log


@pytest.mark.parametrize("lacking", ["topic", "global_topic"])
@pytest.mark.parametrize("granted", [None, AclOperation.DESCRIBE])
def test_a_missing_permission(
    kafka: Kafka,
    recorder_of: Make,
    alice: dict[str, Any],
    lacking: str,
    granted: AclOperation | None,
) -> None:
    for key in {"topic", "global_topic"} - {lacking}:
        allow(kafka, alice[key])
    if granted is not None:
        kafka.allow("alice", granted, ResourceType.TOPIC, alice[lacking])
    recorder = recorder_of(alice)
    assert recorder.wait() == 1
    operations = "Describe and Read" if granted is None else "Read"
    assert f"lacks the permission {operations} on the topic {alice[lacking]}." in recorder.log
    assert "kafka-acls.sh" in recorder.log


def test_a_wrong_password(recorder_of: Make, alice: dict[str, Any]) -> None:
    Path(alice["security"]["password_file"]).write_text("not-the-password")
    recorder = recorder_of(alice)
    assert recorder.wait() == 1
    assert "does not accept the password of the user alice" in recorder.log
    assert "not-the-password" not in recorder.log
    assert "Traceback" not in recorder.log


def test_a_missing_topic(kafka: Kafka, recorder_of: Make) -> None:
    section = settings_of(kafka)
    recorder = recorder_of(section)
    assert recorder.wait() == 1
    assert f"the topic {section['topic']} does not exist" in recorder.log
    assert "presenced kafka create-topics" in recorder.log


def test_no_broker(kafka: Kafka, recorder_of: Make) -> None:
    recorder = recorder_of(settings_of(kafka, bootstrap_servers=["127.0.0.1:1"]))
    assert recorder.wait() == 1
    assert "the broker at 127.0.0.1:1 refused the TCP connection" in recorder.log


def test_a_partition_that_is_ahead_is_paused_and_nothing_of_it_is_lost(kafka: Kafka) -> None:
    topic = settings_of(kafka)["topic"]
    kafka.create_topic(topic, 2, message_timestamp_type="CreateTime")
    began, half = time.time() - 24 * HOUR, 5000
    for number in range(2):
        events = [(began + half * number + each, f"c-{number}", True) for each in range(half)]
        produce_at(kafka, topic, number, events)
    connection = {"bootstrap.servers": kafka.bootstrap}
    taken: list[Message] = []

    def put(messages: Sequence[Message]) -> bool:
        taken.extend(messages)
        return True

    reader = TopicReader(
        connection,
        {**connection, "group.id": "none", "isolation.level": "read_committed"},
        {Place(topic, number): 0 for number in range(2)},
        put,
        lambda *error: pytest.fail(str(error)),
        lambda: None,
        Clocks(time.monotonic, time.time),
        max_waiting=200,
    )
    reader.start()
    wait_for(lambda: len(taken) == 2 * half, 60, "all messages")
    assert reader.stop(10) == []
    received = [message.received for message in taken]
    assert received == sorted(received)
