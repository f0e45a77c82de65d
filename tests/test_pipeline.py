"""Messages in, presence and counts out."""

import json

import pytest

from presenced import log
from presenced.fleet import Fleet
from presenced.mqtt.message import Message
from presenced.pipeline import ClientFilter, Pipeline, Traffic
from presenced.presence import PresenceRules, State, Transition


def message(
    kind: str, client_id: str = "a", version: int = 1, at: float = 0.0, **fields: object
) -> Message:
    family = "subscriptions" if kind == "subscribed" else "presence"
    payload = {
        "clientId": client_id,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        "timestamp": round(at * 1000),
        **fields,
    }
    return Message(
        topic=f"$aws/events/{family}/{kind}/{client_id}",
        payload=json.dumps(payload).encode(),
        qos=1,
        received=at,
        moment=at,
        connection="presenced",
    )


def make(**filters: list[str]) -> tuple[Pipeline, list[Transition]]:
    transitions: list[Transition] = []
    fleet = Fleet(
        PresenceRules(), on_transition=lambda _, transition: transitions.append(transition)
    )
    return Pipeline(fleet, ClientFilter(**filters)), transitions


def test_deadlines_come_before_the_message_that_arrives_at_their_time() -> None:
    """A batch may hold minutes: what was due between its messages happens between them."""
    pipeline, transitions = make()
    pipeline.process(
        [
            message("connected", version=1, at=0),
            message("disconnected", version=1, at=10),
            message("connected", version=2, at=15),
            message("disconnected", version=2, at=20),
            message("connected", version=3, at=24.999),
        ]
    )
    assert [(t.time, t.state) for t in transitions] == [
        (0, State.ONLINE),
        (15, State.OFFLINE),
        (15, State.ONLINE),
    ]
    assert pipeline.presence.counts.flaps_suppressed == 1


def test_every_message_counts_once() -> None:
    pipeline, _ = make(own=["me"], patterns=["iotconsole-*"])
    batch = [
        message("connected"),
        message("connected"),
        message("connected", "me"),
        message("connected", "iotconsole-7"),
        message("connected", "ME"),
        message("connect_failed", connectFailureReason="AUTHORIZATION_FAILED"),
        message("connect_failed", connectFailureReason="SOMETHING_ELSE"),
        message("connect_failed", "me"),
        message("subscribed"),
        message("nonsense"),
    ]
    pipeline.process(batch)
    counts = pipeline.counts
    assert {key: n for key, n in counts.decoded.items() if n} == {
        ("presence", "connected"): 5,
        ("presence", "connect_failed"): 3,
        ("subscriptions", "subscribed"): 1,
    }
    assert counts.rejected["unknown_topic"] == 1
    assert {why: n for why, n in counts.ignored.items() if n} == {
        "own_client": 2,
        "ignored_client": 1,
    }
    assert counts.connect_failures == {"AUTHORIZATION_FAILED": 1, "other": 1}
    assert pipeline.presence.counts.ignored == {"duplicate": 1, "stale": 0}
    assert sorted(pipeline.presence.clients) == ["ME", "a"]


def test_no_pattern_ignores_nobody() -> None:
    assert ClientFilter().why_ignored("anyone") is None


def test_delays_are_measured_against_event_time_and_never_negative() -> None:
    pipeline, _ = make()
    pipeline.process(
        [
            message("connected", at=100, timestamp=97_000),
            message("disconnected", at=100, timestamp=200_000),
            message("connected", version=2, at=101, timestamp=None),
        ]
    )
    delay = pipeline.counts.delays["presence"]
    assert (sum(delay.buckets), delay.sum) == (2, 3.0)


def test_topic_disagreements_are_counted() -> None:
    pipeline, _ = make()
    pipeline.process([message("connected", eventType="disconnected")])
    assert pipeline.counts.topic_disagreements == 1
    assert pipeline.presence.clients["a"].state is State.OFFLINE


def test_seconds_at_the_rate_limit() -> None:
    traffic = Traffic(max_message_rate=3)
    for moment in (0.1, 0.2, 1.0, 1.1, 1.2, 1.3, 2.0, 2.5, 3.0, 3.9, 3.99):
        traffic.count(message("connected", at=moment))
    assert traffic.saturated_seconds == 2
    assert traffic.messages == {0: 0, 1: 11}
    assert traffic.last_message == 3.99


def test_a_fault_of_ours_does_not_take_the_batch_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object, transition: Transition) -> None:
        if transition.client_id == "b":
            raise ZeroDivisionError

    log.configure("info", "json")
    pipeline = Pipeline(Fleet(PresenceRules(), on_transition=fail), ClientFilter())
    pipeline.process([message("connected", name) for name in "abc"])
    assert sorted(pipeline.presence.clients) == ["a", "b", "c"]
    assert pipeline.presence.counts.clients[State.ONLINE] == 3
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "a message could not be applied"
    assert "ZeroDivisionError" in str(line["exception"])
    assert pipeline.counts.faults == 1
