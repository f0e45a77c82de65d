"""What errors of the client of Kafka mean to the one who reads them."""

import pytest
from confluent_kafka import KafkaError

from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.faults import Cause
from presenced.sources.kafka.library_errors import ConnectionErrors, text_of

SERVER = "kafka-1.example.org:9093"
TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "27 message(s) remaining")
REFUSED = KafkaError(
    KafkaError._TRANSPORT,
    f"ssl://{SERVER}/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused"
    " (after 0ms in state CONNECT)",
)


class Errors:
    """The errors of a client, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        kafka = KafkaSettings.model_validate({"bootstrap_servers": [SERVER]})
        self.collected = ConnectionErrors(kafka, clock=lambda: self.now)


def test_a_connection_that_fails_explains_why_nothing_is_answered() -> None:
    errors = Errors()
    errors.collected.report(REFUSED)
    errors.now = 31.0
    for explain in (errors.collected.explain, errors.collected.explain_of_member):
        fault = explain(TIMED_OUT)
        assert fault.reason is Cause.UNREACHABLE
        assert "refused the TCP connection" in fault.detail


def test_a_connection_that_failed_long_ago_explains_nothing() -> None:
    errors = Errors()
    errors.collected.report(REFUSED)
    errors.now = 61.0
    assert "refused" not in str(errors.collected.explain(TIMED_OUT))
    fault = errors.collected.explain_of_member(TIMED_OUT)
    assert str(fault) == (
        "the brokers do not answer in time (27 message(s) remaining)."
        " `presenced doctor` tests the brokers, the topics and the permissions"
    )


def test_brokers_that_never_answered_may_speak_another_protocol() -> None:
    assert "kafka.security.protocol" in str(Errors().collected.explain(TIMED_OUT))


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError._NOENT, "Failed to query partition leaders: No leaders found"),
        KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART),
    ],
)
def test_a_topic_that_is_gone_is_named_as_the_cause(error: KafkaError) -> None:
    fault = Errors().collected.explain_of_member(error)
    assert fault.reason is Cause.TOPIC_MISSING
    assert "does not exist" in fault.detail
    assert "presenced kafka create-topics" in fault.remedy


def test_a_broker_that_is_away_leads_nothing() -> None:
    errors = Errors()
    errors.collected.report(REFUSED)
    fault = errors.collected.explain_of_member(KafkaError(KafkaError._NOENT))
    assert fault.reason is Cause.UNREACHABLE


def test_a_change_of_leader_is_no_refusal() -> None:
    for code in (KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH):
        fault = Errors().collected.explain(KafkaError(code))
        assert "choosing the leader" in fault.detail
        assert fault.remedy


def test_texts_for_the_log_name_no_user_address_or_secret() -> None:
    principal = "arn:aws:iam::111122223333:role/worker"
    said = f"User:alice ({principal}) at 192.0.2.7 is denied with the token {'s' * 60}"
    text = text_of(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, said))
    assert "is denied with the token" in text
    assert not any(each in text for each in ("alice", "111122223333", "192.0.2.7", "sss"))
