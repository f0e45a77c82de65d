"""What a missing permission is granted with."""

import json
import shlex
from typing import Any

import pytest

from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.permissions import (
    denied,
    group_permission,
    topic_permission,
    transaction_permission,
)

SERVER = "b-1.cluster.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"


def settings(**security: Any) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap_servers": [SERVER], "security": security})


def test_a_worker_writes_state_and_reads_events() -> None:
    kafka = settings()

    def operations(topic: str) -> tuple[str, ...]:
        return topic_permission(kafka, topic, asks_aws=False).operations

    assert "Write" in operations(kafka.state_topic)
    assert "Write" in operations(kafka.global_state_topic)
    assert "Write" not in operations(kafka.topic)
    assert "Write" not in operations(kafka.global_topic)
    assert all("Read" in operations(topic) for topic in (kafka.topic, kafka.state_topic))
    assert "Write" in topic_permission(kafka, kafka.topic, asks_aws=True).operations
    assert "Write" not in topic_permission(kafka, kafka.global_topic, asks_aws=True).operations


@pytest.mark.parametrize(
    ("security", "principal"),
    [
        ({"protocol": "PLAINTEXT"}, "User:ANONYMOUS"),
        ({"cert": "/c.pem", "key": "/k.pem"}, "'User:SUBJECT OF THE CLIENT CERTIFICATE'"),
        (
            {
                "protocol": "SASL_SSL",
                "mechanism": "PLAIN",
                "username": "alice",
                "password_file": "/p",
            },
            "User:alice",
        ),
    ],
)
def test_kafka_grants_it_by_an_acl(security: dict[str, Any], principal: str) -> None:
    kafka = settings(**security)
    fault = denied(kafka, transaction_permission(kafka), None)
    assert (
        f"`kafka-acls.sh --bootstrap-server {SERVER} --add --allow-principal {principal}"
        " --operation Describe --operation Write --transactional-id presenced-"
        " --resource-pattern-type prefixed`"
    ) in fault.remedy


def test_names_stay_single_words_of_the_command() -> None:
    kafka = KafkaSettings.model_validate(
        {
            "bootstrap_servers": [SERVER],
            "group": "it's; rm -rf $HOME",
            "security": {
                "protocol": "SASL_SSL",
                "mechanism": "PLAIN",
                "username": "CN=a, O=b",
                "password_file": "/p",
            },
        }
    )
    words = shlex.split(denied(kafka, group_permission(kafka), None).remedy.split("`")[1])
    assert "User:CN=a, O=b" in words
    assert "it's; rm -rf $HOME" in words


def test_aws_grants_it_by_a_policy() -> None:
    kafka = settings(protocol="SASL_SSL", mechanism="AWS_MSK_IAM")
    fault = denied(kafka, group_permission(kafka), "eu-west-1")
    assert json.loads(fault.remedy.partition(": ")[2]) == {
        "Effect": "Allow",
        "Action": ["kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"],
        "Resource": "arn:aws:kafka:eu-west-1:ACCOUNT:group/CLUSTER/*/presenced",
    }
