"""Messages in, presence and counts out."""

import json
import math

import pytest

from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.pipeline import ClientFilter, Pipeline, Repeats, Traffic
from presenced.presence import PresenceRules, State, Transition
from presenced.system import log


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


def told(topic: str, **payload: object) -> Message:
    return Message(
        topic=f"$aws/events/{topic}",
        payload=json.dumps(payload).encode(),
        qos=1,
        received=0.0,
        moment=0.0,
        connection="presenced",
    )


def membership(operation: str, group: str, at: int) -> Message:
    return told(
        f"thingGroupMembership/thingGroup/{group}/thing/a/{operation}",
        operation=operation.upper(),
        timestamp=at,
    )


def test_changes_of_the_registry_are_counted_by_what_they_change() -> None:
    pipeline, _ = make()
    pipeline.process(
        [
            membership("added", "g", 5_000_000_000_000),
            membership("added", "g", 5_000_000_000_000),
            membership("removed", "g", 4_000_000_000_000),
            *(membership("added", f"g{number}", 5_000_000_000_000) for number in range(64)),
            told("thing/a/created", timestamp=5_000_000_000_000),
        ]
    )
    counts = pipeline.counts
    assert {key: n for key, n in counts.registry_changes.items() if n} == {
        ("thing_group_membership", "added"): 64,
        ("thing", "created"): 1,
    }
    assert {why: n for why, n in counts.ignored.items() if n} == {
        "duplicate": 1,
        "stale": 1,
        "excess": 1,
    }
    assert sum(counts.decoded.values()) == 68, "each message once"


def test_jobs_certificates_and_commands_count_once_each() -> None:
    pipeline, _ = make()
    job = told("job/j/completed", eventType="JOB", operation="completed", jobId="j")
    failed = told("jobExecution/j/failed", operation="failed", jobId="j", thingArn="x/a")
    pipeline.process(
        [
            job,
            failed,
            told("jobExecution/j/failed", operation="failed", jobId="j", thingArn="x/b"),
            job,
            told("certificates/registered/ca", certificateId="c"),
            told("commandExecution/c/SUCCEEDED", executionId="c"),
            told("commandExecution/c/A_STATUS_OF_TOMORROW", executionId="c"),
            failed,
        ]
    )
    tallied = pipeline.counts.tallied.items()
    assert {family: {each: n for each, n in types.items() if n} for family, types in tallied} == {
        "job": {"completed": 1},
        "job_execution": {"failed": 2},
        "command_execution": {"succeeded": 1, "other": 1},
    }
    assert pipeline.counts.certificates_registered == 1
    assert pipeline.counts.ignored["duplicate"] == 2


def test_repeats_are_told_among_the_last_messages_only() -> None:
    repeats = Repeats(most=2)
    one, two, three = (told(f"job/{number}/completed") for number in range(3))
    assert [repeats.is_repeat(each) for each in (one, two, one, three, one)] == [
        False,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("pattern", "client_id", "ignored"),
    [
        ("iot*", "iotconsole-7", True),
        ("iot*", "IOT", False),
        ("iot*", "iot\n", True),
        ("iot*", "an iot", False),
        ("*", "", True),
        ("*-console", "a-console", True),
        ("a?c*", "abcd", True),
        ("a?c*", "a?c", True),
        ("a?c*", "ac", False),
        ("[ab]*", "b", True),
        ("[ab]*", "[ab]", False),
        ("plain", "plain", True),
        ("plain", "plainer", False),
    ],
)
def test_patterns_are_those_of_a_shell(pattern: str, client_id: str, *, ignored: bool) -> None:
    why = ClientFilter(patterns=["never-*", pattern]).why_ignored(client_id)
    assert why == ("ignored_client" if ignored else None)


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


def test_a_batch_is_counted_by_connection_and_second() -> None:
    """As its messages would be one by one; some of a batch may be of another connection."""
    pipeline, _ = make()
    together, alone = Traffic(max_message_rate=3), Traffic(max_message_rate=3)
    pipeline.traffic = {"presenced": together, "other": Traffic()}
    batch = [message("connected", at=at) for at in (0.1, 0.2, 0.9, 1.0, 1.1, 2.5, 2.6, 2.7, 2.8)]
    batch[1].connection, batch[4].connection, batch[5].qos = "other", "unheard of", 0
    pipeline.process(batch[:5])
    pipeline.process(batch[5:])
    for each in batch:
        if each.connection == "presenced":
            alone.count(each)
    assert together == alone
    assert alone.saturated_seconds == 1
    assert alone.messages == {0: 1, 1: 6}
    assert pipeline.traffic["other"].messages == {0: 0, 1: 1}


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


def test_held_deadlines_fire_neither_by_time_nor_by_messages() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    assert pipeline.next_deadline == 15
    pipeline.held_at = 14.0
    assert pipeline.next_deadline is None, "no timer needs to wake for it"
    pipeline.advance(100.0, 0.0)
    pipeline.process([message("connected", "b", at=100)])
    assert [t.client_id for t in transitions] == ["a", "b"]
    pipeline.process([message("connected", version=2, at=101)])
    assert pipeline.presence.counts.flaps_suppressed == 1, "it had come back meanwhile"


def test_deadlines_of_before_the_hold_fire() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    pipeline.held_at = 15.0
    assert pipeline.next_deadline == 15
    pipeline.advance(100.0, 0.0)
    assert [(t.time, t.state) for t in transitions] == [(0, State.ONLINE), (15, State.OFFLINE)]


def test_many_deadlines_that_are_let_go_at_once_take_turns_before_the_message() -> None:
    """50,000 that were held back, released by one message, held up the loop for 175 ms."""
    pipeline, transitions = make()
    many = [str(number) for number in range(12)]
    pipeline.process([message("connected", name, at=0) for name in many])
    pipeline.process([message("disconnected", name, at=10) for name in many])
    transitions.clear()
    batch = [message("connected", "late", at=100), message("connected", "later", at=100)]
    fired = []
    while pipeline.process(batch, most=5) == 0:
        fired.append(len(transitions))
        assert "late" not in pipeline.presence.clients
    assert fired == [5, 10]
    assert [t.client_id for t in transitions] == [*many, "late", "later"]


def test_the_bound_of_deadlines_is_one_for_the_whole_batch() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", name, at=0) for name in "abc"])
    pipeline.process([message("disconnected", name, at=10 + n) for n, name in enumerate("abc")])
    batch = [message("connected", name, at=15 + n) for n, name in enumerate("xyz")]
    assert pipeline.process(batch, most=2) == 2
    assert pipeline.process(batch[2:], most=2) == 1
    assert [t.client_id for t in transitions[3:]] == ["a", "x", "b", "y", "c", "z"]


def test_a_fault_at_a_deadline_stops_neither_the_others_nor_the_message() -> None:
    def fail(_: object, transition: Transition) -> None:
        if transition.state is State.OFFLINE and transition.client_id == "b":
            raise ZeroDivisionError

    log.configure("critical", "json")
    pipeline = Pipeline(Fleet(PresenceRules(), on_transition=fail), ClientFilter())
    pipeline.process([message("connected", name) for name in "abc"])
    pipeline.process([message("disconnected", name) for name in "abc"])
    pipeline.process([message("connected", "d", at=100)])
    assert pipeline.counts.faults == 1
    assert pipeline.presence.counts.clients[State.OFFLINE] == 3
    assert pipeline.presence.clients["d"].state is State.ONLINE


def test_what_was_held_fires_with_its_own_time_once_it_is_let_go() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    pipeline.held_at = 12.0
    pipeline.advance(100.0, 0.0)
    pipeline.held_at = math.inf
    pipeline.advance(100.0, 0.0)
    assert (transitions[-1].time, transitions[-1].since) == (15, 10)


def test_messages_are_heard_after_they_were_applied_whoever_they_are_of() -> None:
    pipeline, _ = make(own=["me"])
    heard: list[tuple[str | None, bool]] = []
    pipeline.heard = lambda _, event: heard.append(
        (event and event.client_id, "a" in pipeline.presence.clients)
    )
    pipeline.process([message("connected"), message("connected", "me"), message("nonsense")])
    assert heard == [("a", True), ("me", True), (None, True)]


def test_a_connection_is_saturated_while_its_second_lasts_and_the_next() -> None:
    traffic = Traffic(max_message_rate=2)
    assert not traffic.is_saturated(0.0)
    traffic.count(message("connected", at=5.1))
    assert not traffic.is_saturated(5.2)
    traffic.count(message("connected", at=5.3))
    assert traffic.is_saturated(5.4)
    assert traffic.is_saturated(6.9)
    assert not traffic.is_saturated(7.0)
    traffic.count(message("connected", at=6.0))
    assert not traffic.is_saturated(6.0), "another second, and not at the limit"


def test_without_a_limit_no_second_is_saturated() -> None:
    traffic = Traffic(max_message_rate=None)
    for _ in range(1000):
        traffic.count(Message("", b"", 0, 5.0, 5.0))
    assert traffic.saturated_seconds == 0
    assert not traffic.is_saturated(5.0)


def test_lifecycle_events_at_qos_0_are_counted_by_themselves() -> None:
    traffic = Traffic()
    for topic, qos in (("presence/connected/a", 0), ("presence/connected/a", 1), ("job/a/b", 0)):
        traffic.count(Message(f"$aws/events/{topic}", b"", qos, 5.0, 5.0))
    assert traffic.lifecycle_at_qos_0 == 1
