"""`presenced kafka create-topics` against a real Apache Kafka."""

import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ConfigResource, ResourceType

from certificates import Certificates
from kafka_config import TOPICS, by_certificate, by_password, settings_of, write_config
from kafka_server import Kafka
from presenced.cli import main


class Command:
    """Runs the command with a section `kafka`."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._capsys = capsys

    def __call__(self, section: dict[str, Any], *flags: str) -> tuple[int, str]:
        config = write_config(self._directory, section)
        status = main(["kafka", "create-topics", "--config", config, *flags])
        shown = self._capsys.readouterr()
        return status, shown.out + shown.err


@pytest.fixture
def create(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def config_of(kafka: Kafka, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = kafka.admin.describe_configs([resource])[resource].result(30)
    return {name: entry.value for name, entry in entries.items()}


def partitions_of(kafka: Kafka, topic: str) -> int:
    return len(kafka.admin.list_topics(topic, timeout=30).topics[topic].partitions)


def recorded(kafka: Kafka, topic: str, partition: int) -> list[bytes | None]:
    return [value for key, value in kafka.records(topic, partition) if key == b'["partitions"]']


def test_it_creates_the_four_topics(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    status, said = create(section, "--partitions", "6")
    assert status == 0, said
    counts = {key: partitions_of(kafka, section[key]) for key in TOPICS}
    assert counts == {"topic": 6, "global_topic": 1, "state_topic": 6, "global_state_topic": 1}
    for key in ("topic", "global_topic"):
        config = config_of(kafka, section[key])
        assert config["cleanup.policy"] == "delete"
        assert config["message.timestamp.type"] == "LogAppendTime"
    for key in ("state_topic", "global_state_topic"):
        assert config_of(kafka, section[key])["cleanup.policy"] == "compact"
    for partition in range(6):
        assert recorded(kafka, section["state_topic"], partition) == [b"6"]
    assert all(f"{section[key]}: created" in said for key in TOPICS)


def test_a_second_run_changes_nothing(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    create(section, "--partitions", "3")
    status, said = create(section)
    assert status == 0
    assert said.count("exists") == len(TOPICS)
    assert "created" not in said
    assert recorded(kafka, section["state_topic"], 0) == [b"3"]


def test_the_number_of_partitions_is_that_of_a_topic_that_is_there(
    kafka: Kafka, create: Command
) -> None:
    section = settings_of(kafka)
    kafka.create_topic(section["topic"], 5, message_timestamp_type="LogAppendTime")
    assert create(section)[0] == 0
    assert partitions_of(kafka, section["state_topic"]) == 5


def test_a_lost_record_of_the_partitions_is_written_again(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    kafka.create_topic(section["state_topic"], 2, cleanup_policy="compact")
    kafka.produce(section["state_topic"], ('["clients","a"]', b"[]"), partition=0)
    status, said = create(section)
    assert status == 0, said
    assert [recorded(kafka, section["state_topic"], number) for number in (0, 1)] == [[b"2"]] * 2


WRONG: dict[str, tuple[str, int, dict[str, str], str]] = {
    "events with the time of the producer": (
        "topic",
        2,
        {"message_timestamp_type": "CreateTime"},
        "message.timestamp.type=CreateTime, which must be LogAppendTime",
    ),
    "events that are compacted": (
        "global_topic",
        1,
        {"message_timestamp_type": "LogAppendTime", "cleanup_policy": "compact"},
        "cleanup.policy=compact, which must be delete",
    ),
    "state that is deleted": (
        "state_topic",
        2,
        {"cleanup_policy": "delete"},
        "cleanup.policy=delete, which must be compact",
    ),
    "state that is deleted too": (
        "global_state_topic",
        1,
        {"cleanup_policy": "compact,delete"},
        "which must be compact",
    ),
    "too many partitions": (
        "global_topic",
        3,
        {"message_timestamp_type": "LogAppendTime"},
        "has 3 partitions instead of 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_topic_is_refused_and_nothing_is_created(
    kafka: Kafka, create: Command, case: str
) -> None:
    key, partitions, config, expected = WRONG[case]
    section = settings_of(kafka)
    kafka.create_topic(section[key], partitions, **config)
    status, said = create(section)
    assert status == 1
    assert expected in said
    assert "nothing was created" in said
    there = kafka.admin.list_topics(timeout=30).topics
    assert [name for name in TOPICS if section[name] in there] == [key]


def test_what_it_says_to_do_about_a_setting_works(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    kafka.create_topic(section["topic"], 2)
    _, said = create(section)
    found = re.search(r"--entity-name (\S+) --add-config ([\w.]+)=(\w+)`", said)
    assert found is not None, said
    kafka.configure_topic(found[1], found[2], found[3])
    assert create(section)[0] == 0


def test_another_number_of_partitions_is_refused(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    create(section, "--partitions", "2")
    status, said = create(section, "--partitions", "4")
    assert status == 1
    assert "begun with 2 partitions, not 4" in said


def test_partitions_that_were_added_are_refused(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    create(section, "--partitions", "2")
    for key in ("topic", "state_topic"):
        kafka.add_partitions(section[key], 4)
    status, said = create(section)
    assert status == 1
    assert "has 4 partitions instead of 2, with which the state" in said


def test_a_short_retention_is_a_warning(kafka: Kafka, create: Command) -> None:
    section = settings_of(kafka)
    kafka.create_topic(
        section["topic"], 2, message_timestamp_type="LogAppendTime", retention_ms="3600000"
    )
    status, said = create(section)
    assert status == 0
    assert "keeps events for 1h" in said


def test_the_replication_factor_is_that_of_the_option(kafka: Kafka, create: Command) -> None:
    """One broker cannot hold three replicas."""
    status, said = create(settings_of(kafka), "--replication-factor", "3")
    assert status == 1
    assert "INVALID_REPLICATION_FACTOR" in said
    assert "Use a smaller --replication-factor" in said


def granted(said: str) -> tuple[str, list[str], str]:
    """What a `kafka-acls` command in a text grants: to whom, which operations, on which topic."""
    command = re.search(r"`kafka-acls.sh (.*?)`", said)
    assert command is not None, said
    principal = re.search(r"--allow-principal User:(\S+)", command[1])
    topic = re.search(r"--topic (\S+)", command[1])
    assert principal is not None
    assert topic is not None
    return principal[1], re.findall(r"--operation (\w+)", command[1]), topic[1]


def operation(name: str) -> AclOperation:
    return AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()]


def test_each_missing_permission_is_named_until_none_is_missing(
    kafka: Kafka, certificates: Certificates, create: Command, tmp_path: Path
) -> None:
    section = settings_of(kafka, **by_password(kafka, certificates, tmp_path))
    seen = set()
    for _ in range(20):
        status, said = create(section, "--partitions", "2")
        if status == 0:
            break
        user, operations, topic = granted(said)
        assert user == "alice"
        for name in operations:
            seen.add(name)
            kafka.allow(user, operation(name), ResourceType.TOPIC, topic)
    else:
        pytest.fail(said)
    assert seen >= {"Describe", "DescribeConfigs", "Create", "Write"}
    assert partitions_of(kafka, section["topic"]) == 2


def test_a_client_certificate_may_create_topics(
    kafka: Kafka, certificates: Certificates, create: Command
) -> None:
    section = settings_of(kafka, **by_certificate(kafka, certificates))
    for name in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"):
        for key in TOPICS:
            kafka.allow("client", AclOperation[name], ResourceType.TOPIC, section[key])
    status, said = create(section, "--partitions", "2")
    assert status == 0, said
