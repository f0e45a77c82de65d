"""The servers that these tests run do what the sources need of Kafka and of Amazon SQS."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from certificates import Certificates
from kafka_server import Kafka
from sqs_server import SqsServer
from waiting import wait_for


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def read(consumer: Consumer, count: int) -> list[Any]:
    """The next messages."""
    found: list[Any] = []

    def enough() -> bool:
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            found.append(message)
        return len(found) >= count

    wait_for(enough, 60, f"{count} messages")
    return found


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_group_reads_what_was_produced(kafka: Kafka, protocol: str) -> None:
    topic = unique("events")
    kafka.create_topic(topic, 3, message_timestamp_type="LogAppendTime")
    kafka.produce(topic, *((f"key-{number}", b"%d" % number) for number in range(30)))
    with kafka.consumer(unique("group"), group_protocol=protocol) as consumer:
        consumer.subscribe([topic])
        found = read(consumer, 30)
    assert sorted(int(message.value()) for message in found) == list(range(30))
    assert {message.partition() for message in found} == {0, 1, 2}


def test_what_an_open_transaction_wrote_is_not_read(kafka: Kafka) -> None:
    topic = unique("state")
    kafka.create_topic(topic, cleanup_policy="compact")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for value, end in ((b"a", producer.commit_transaction), (b"b", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value, "key")
        end(30)
    assert kafka.records(topic) == [(b"key", b"a")]


def test_a_transaction_commits_the_offsets_of_a_member(kafka: Kafka) -> None:
    topic, group = unique("events"), unique("group")
    kafka.create_topic(topic)
    kafka.produce(topic, ("key", b"1"), ("key", b"2"))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": group})
    producer.init_transactions(30)
    with kafka.consumer(group, group_protocol="consumer") as consumer:
        consumer.subscribe([topic])
        read(consumer, 2)
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, 0, 2)], consumer.consumer_group_metadata(), 30
        )
        producer.commit_transaction(30)
        assert consumer.committed([TopicPartition(topic, 0)], 30)[0].offset == 2


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_that_comes_back_has_its_records(kafka_of: Any, end: str) -> None:
    kafka = kafka_of()
    kafka.create_topic("events")
    kafka.produce("events", ("key", b"1"))
    getattr(kafka, end)()
    kafka.start()
    assert kafka.records("events") == [(b"key", b"1")]


def test_a_frozen_broker_goes_on(kafka_of: Any) -> None:
    kafka = kafka_of()
    admin = kafka.admin
    kafka.freeze()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    kafka.thaw()
    assert len(admin.list_topics(timeout=60).brokers) == 1


def list_topics(**config: str) -> set[str]:
    client = AdminClient({key.replace("_", "."): value for key, value in config.items()})
    return set(client.list_topics(timeout=30).topics)


def test_a_client_certificate_has_the_permissions_of_its_common_name(
    kafka: Kafka, certificates: Certificates
) -> None:
    seen, unseen = unique("seen"), unique("unseen")
    kafka.create_topic(seen)
    kafka.create_topic(unseen)
    kafka.allow("client", AclOperation.DESCRIBE, ResourceType.TOPIC, seen)
    topics = list_topics(
        bootstrap_servers=kafka.tls_bootstrap,
        security_protocol="SSL",
        ssl_ca_location=str(certificates.ca),
        ssl_certificate_location=str(certificates.client.cert),
        ssl_key_location=str(certificates.client.key),
    )
    assert seen in topics
    assert unseen not in topics


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_user_has_a_password_and_permissions(
    kafka: Kafka, certificates: Certificates, mechanism: str
) -> None:
    topic = unique("topic")
    kafka.create_topic(topic)
    kafka.allow("alice", AclOperation.DESCRIBE, ResourceType.TOPIC, topic)
    config = {
        "bootstrap_servers": kafka.sasl_bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": str(certificates.ca),
        "sasl_mechanism": mechanism,
    }
    alice = list_topics(**config, sasl_username="alice", sasl_password="alice-secret")
    bob = list_topics(**config, sasl_username="bob", sasl_password="bob-secret")
    assert topic in alice - bob
    with pytest.raises(KafkaException) as refused:
        AdminClient(
            {
                **{key.replace("_", "."): value for key, value in config.items()},
                "sasl.username": "alice",
                "sasl.password": "wrong",
            }
        ).list_topics(timeout=3)
    assert refused.value.args[0].code() in (KafkaError._TRANSPORT, KafkaError._AUTHENTICATION)


def test_a_queue_keeps_a_message_from_others_until_it_is_deleted_or_released(
    sqs: SqsServer,
) -> None:
    url, client = sqs.create_queue(unique("queue"), VisibilityTimeout="60"), sqs.client()
    sqs.send(url, (f"body {number}" for number in range(12)))
    first = client.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=20,
        AttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
    )["Messages"]
    second = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    assert len(first) + len(second["Messages"]) == 12
    assert {message["Attributes"]["ApproximateReceiveCount"] for message in first} == {"1"}
    assert all(int(message["Attributes"]["SentTimestamp"]) > 1.7e12 for message in first)
    assert not client.receive_message(QueueUrl=url).get("Messages")
    entries = [
        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
        for number, message in enumerate(first)
    ]
    deleted, released = entries[:6], entries[6:]
    answer = client.delete_message_batch(QueueUrl=url, Entries=deleted)
    assert len(answer["Successful"]) == len(deleted)
    answer = client.change_message_visibility_batch(
        QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": 0} for entry in released]
    )
    assert len(answer["Successful"]) == len(released)
    wait_for(lambda: sqs.counts(url) == {"visible": len(released), "in_flight": 12 - len(first)})


def test_a_message_has_attributes(sqs: SqsServer) -> None:
    url, client = sqs.create_queue(unique("queue")), sqs.client()
    client.send_message(
        QueueUrl=url,
        MessageBody="body",
        MessageAttributes={"topic": {"DataType": "String", "StringValue": "$aws/events/x"}},
    )
    answer = client.receive_message(
        QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["topic"]
    )
    attributes = answer["Messages"][0]["MessageAttributes"]
    assert attributes["topic"]["StringValue"] == "$aws/events/x"


def test_a_long_poll_ends_with_the_message_that_it_waited_for(sqs: SqsServer) -> None:
    url = sqs.create_queue(unique("queue"))
    assert not sqs.client().receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(sqs.client().receive_message, QueueUrl=url, WaitTimeSeconds=20)
        sqs.send(url, ["body"])
        assert polling.result(60)["Messages"][0]["Body"] == "body"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_durable_queue_outlives_its_server(sqs_of: Any, end: str) -> None:
    sqs = sqs_of(durable=True)
    url = sqs.create_queue("events")
    sqs.send(url, (f"body {number}" for number in range(25)))
    getattr(sqs, end)()
    sqs.start()
    assert sqs.counts(url) == {"visible": 25, "in_flight": 0}
