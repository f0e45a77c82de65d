"""Messages in, presence and counts out."""

import json

import msgspec
import pytest

from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.pipeline import Batch, Pipeline
from presenced.presence import ForgetReason, PresenceRules, State, Transition
from presenced.presence.name_patterns import ClientFilter
from presenced.system import log
from recorders import ChangeRecorder


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
    recorder = ChangeRecorder()
    fleet = Fleet(PresenceRules(), ClientFilter(**filters))
    return Pipeline(fleet, [recorder]), recorder.transitions


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
    assert pipeline.fleet.presence.counts.flaps_suppressed == 1


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
    assert pipeline.fleet.presence.counts.ignored == {"duplicate": 1, "stale": 0}
    assert sorted(pipeline.fleet.presence.clients) == ["ME", "a"]


def aws_message(topic: str, **payload: object) -> Message:
    return Message(
        topic=f"$aws/events/{topic}",
        payload=json.dumps(payload).encode(),
        qos=1,
        received=5_000_000_000.0,
        moment=0.0,
        connection="presenced",
    )


def thing_message(name: str, operation: str) -> Message:
    version = {"created": 1, "deleted": 2}[operation]
    return aws_message(f"thing/{name}/{operation}", versionNumber=version, timestamp=version)


def membership(operation: str, group: str, at: int) -> Message:
    return aws_message(
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
            aws_message("thing/a/created", timestamp=5_000_000_000_000),
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
    job = aws_message("job/j/completed", eventType="JOB", operation="completed", jobId="j")
    failed = aws_message("jobExecution/j/failed", operation="failed", jobId="j", thingArn="x/a")
    pipeline.process(
        [
            job,
            failed,
            aws_message("jobExecution/j/failed", operation="failed", jobId="j", thingArn="x/b"),
            job,
            aws_message("certificates/registered/ca", certificateId="c", timestamp=5),
            aws_message("commandExecution/c/SUCCEEDED", executionId="c", timestamp=5),
            aws_message("commandExecution/c/A_STATUS_OF_TOMORROW", executionId="c", timestamp=5),
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


def test_a_refused_connect_counts_once_however_often_it_is_delivered() -> None:
    pipeline, _ = make()
    first, second = (message("connect_failed", at=at) for at in (10, 11))
    ahead = message("connect_failed", at=12, timestamp=1_000_000)
    pipeline.process([first, second, ahead, first, second, ahead])
    assert pipeline.counts.connect_failures == {"other": 3}
    assert pipeline.counts.ignored["duplicate"] == 3
    assert pipeline.flapping.recent.of("a", 12).refused == 3


def test_refused_connects_without_a_date_may_be_equal() -> None:
    pipeline, _ = make()
    undated = message("connect_failed", at=10, timestamp=None)
    pipeline.process([undated, undated])
    assert pipeline.counts.connect_failures == {"other": 2}


def test_repeats_are_recognised_among_the_last_messages_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("presenced.pipeline.event_counts._REMEMBERED_MESSAGES", 2)
    pipeline, _ = make()
    one, two, three = (aws_message(f"job/{number}/completed", timestamp=5) for number in range(3))
    ignored = []
    for each in (one, two, one, three, one):
        pipeline.process([each])
        ignored.append(pipeline.counts.ignored["duplicate"])
    assert ignored == [0, 0, 1, 1, 1]


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


def test_without_patterns_no_client_is_ignored() -> None:
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


def test_an_event_dated_ahead_counts_as_just_received(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise every true event of the client is ignored until that date."""
    log.configure("info", "json")
    pipeline, transitions = make()
    noon = 1_700_000_000.0
    in_a_year = round((noon + 365 * 86400) * 1000)
    pipeline.process(
        [
            message("connected", version=7, at=noon, timestamp=in_a_year),
            message("disconnected", version=7, at=noon + 60, timestamp=in_a_year),
            message("connected", version=0, at=noon + 7200),
            message("disconnected", version=0, at=noon + 7260, timestamp=(noon + 7380) * 1000),
        ]
    )
    pipeline.advance(noon + 8000, 0)
    assert [(t.since, t.state) for t in transitions] == [
        (noon, State.ONLINE),
        (noon + 60, State.OFFLINE),
        (noon + 7200, State.ONLINE),
        (noon + 7260, State.OFFLINE),
    ]
    assert pipeline.counts.dated_ahead == 2, "120 s ahead are within the accuracy"
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert "ahead of the clock" in line["event"]
    assert line["seconds_ahead"] == 365 * 86400


@pytest.mark.parametrize("back", [600.0, 7200.0, 1e6])
def test_clients_come_and_go_after_the_clock_was_set_back(back: float) -> None:
    pipeline, _ = make()
    noon = 1_700_000_000.0

    def happen(kind: str, version: int, after: float) -> State:
        at = noon + after - (back if after > 0 else 0)
        pipeline.process([message(kind, version=version, at=at, timestamp=(noon + after) * 1000)])
        pipeline.advance(at + 30, 0)
        return pipeline.fleet.presence.clients["a"].state

    assert happen("connected", 1, 0) is State.ONLINE
    assert happen("disconnected", 1, 60) is State.OFFLINE
    assert happen("connected", 2, 120) is State.ONLINE
    assert happen("disconnected", 2, 180) is State.OFFLINE
    # Late copies are still not later than what is known.
    assert happen("connected", 2, 120) is State.OFFLINE
    assert happen("connected", 1, 0.001) is State.OFFLINE
    assert happen("connected", 3, 240) is State.ONLINE
    assert happen("disconnected", 1, 60) is State.ONLINE


def test_a_change_of_the_registry_dated_ahead_keeps_no_later_one_out() -> None:
    pipeline, _ = make()
    noon = 1_700_000_000

    def change(operation: str, at: int, timestamp: int) -> Message:
        sent = membership(operation, "g", timestamp * 1000)
        return msgspec.structs.replace(sent, received=float(at), moment=float(at))

    pipeline.process(
        [
            change("added", noon, noon + 365 * 86400),
            change("removed", noon + 60, noon + 60),
        ]
    )
    assert pipeline.counts.registry_changes["thing_group_membership", "removed"] == 1
    assert pipeline.counts.dated_ahead == 1


def test_topic_disagreements_are_counted_and_logged_with_their_topic(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")
    pipeline, _ = make()
    pipeline.process([message("connected", eventType="disconnected")])
    assert pipeline.counts.topic_disagreements == 1
    line = json.loads(capsys.readouterr().err)
    assert line["topic"] == "$aws/events/presence/connected/a"
    assert pipeline.fleet.presence.clients["a"].state is State.OFFLINE


def test_a_fault_of_ours_does_not_take_the_batch_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class FailingFilter(ClientFilter):
        def why_ignored(self, client_id: str) -> str | None:
            return None if client_id != "b" else str(1 / 0)

    log.configure("info", "json")
    pipeline = Pipeline(Fleet(PresenceRules(), FailingFilter()))
    assert pipeline.process([message("connected", name) for name in "abc"]) == 3
    assert sorted(pipeline.fleet.presence.clients) == ["a", "c"]
    assert pipeline.fleet.presence.counts.clients[State.ONLINE] == 2
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "a message could not be applied"
    assert "ZeroDivisionError" in str(line["exception"])
    assert pipeline.counts.faults == 1


def test_held_deadlines_fire_neither_by_time_nor_by_messages() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    assert pipeline.next_deadline() == 15
    assert pipeline.next_deadline(14.0) is None, "no timer needs to wake for it"
    pipeline.advance(100.0, 0.0, hold_after=14.0)
    pipeline.process([message("connected", "b", at=100)], hold_after=14.0)
    assert [t.client_id for t in transitions] == ["a", "b"]
    pipeline.process([message("connected", version=2, at=101)], hold_after=14.0)
    assert pipeline.fleet.presence.counts.flaps_suppressed == 1, "it had come back meanwhile"


def test_deadlines_of_before_the_hold_fire() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    assert pipeline.next_deadline(15.0) == 15
    pipeline.advance(100.0, 0.0, hold_after=15.0)
    assert [(t.time, t.state) for t in transitions] == [(0, State.ONLINE), (15, State.OFFLINE)]


def test_many_deadlines_that_are_released_together_fire_in_steps_before_the_message() -> None:
    """50,000 that were held back, released by one message, held up the loop for 175 ms."""
    pipeline, transitions = make()
    many = [str(number) for number in range(12)]
    pipeline.process([message("connected", name, at=0) for name in many])
    pipeline.process([message("disconnected", name, at=10) for name in many])
    transitions.clear()
    batch = [message("connected", "late", at=100), message("connected", "later", at=100)]
    fired = []
    while pipeline.process(batch, limit=5) == 0:
        fired.append(len(transitions))
        assert "late" not in pipeline.fleet.presence.clients
    assert fired == [5, 10]
    assert [t.client_id for t in transitions] == [*many, "late", "later"]


def test_the_limit_of_deadlines_applies_to_the_whole_batch() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", name, at=0) for name in "abc"])
    pipeline.process([message("disconnected", name, at=10 + n) for n, name in enumerate("abc")])
    batch = [message("connected", name, at=15 + n) for n, name in enumerate("xyz")]
    assert pipeline.process(batch, limit=2) == 2
    assert pipeline.process(batch[2:], limit=2) == 1
    assert [t.client_id for t in transitions[3:]] == ["a", "x", "b", "y", "c", "z"]


def test_a_fault_at_a_deadline_stops_neither_the_others_nor_the_message() -> None:
    class FailingFleet(Fleet):
        def forget(self, client_id: str, reason: ForgetReason) -> None:
            if client_id == "b":
                raise ZeroDivisionError
            super().forget(client_id, reason)

    log.configure("critical", "json")
    pipeline = Pipeline(FailingFleet(PresenceRules()))
    pipeline.process([message("connected", name) for name in "abc"])
    pipeline.process([thing_message("b", "created"), thing_message("b", "deleted")])
    pipeline.process([message("disconnected", name) for name in "abc"])
    pipeline.process([message("connected", "d", at=100)])
    assert pipeline.counts.faults == 1
    assert pipeline.fleet.presence.counts.clients[State.OFFLINE] == 3
    assert pipeline.fleet.presence.clients["d"].state is State.ONLINE


def test_a_held_deadline_fires_with_its_own_time_after_its_release() -> None:
    pipeline, transitions = make()
    pipeline.process([message("connected", at=0), message("disconnected", at=10)])
    pipeline.advance(100.0, 0.0, hold_after=12.0)
    pipeline.advance(100.0, 0.0)
    assert (transitions[-1].time, transitions[-1].since) == (15, 10)


class Listing:
    """An observer that lists the events of each batch, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.batches: list[list[str | None]] = []
        self._fails = fails

    def observe(self, batch: Batch) -> None:
        if self._fails:
            raise ZeroDivisionError
        assert len(batch.messages) == len(batch.events)
        self.batches.append([event and event.client_id for event in batch.events])


def test_observers_see_each_batch_with_every_event_also_the_ignored_and_rejected_ones() -> None:
    pipeline, _ = make(own=["me"])
    listing = Listing()
    pipeline.observers += [listing]
    pipeline.process([message("connected"), message("connected", "me"), message("nonsense")])
    assert listing.batches == [["a", "me", None]]


def test_an_observer_that_fails_keeps_no_other_from_seeing_the_batch() -> None:
    log.configure("critical", "json")
    listing = Listing()
    pipeline = Pipeline(Fleet(PresenceRules()), [Listing(fails=True), listing])
    pipeline.process([message("connected")])
    assert listing.batches == [["a"]]
    assert pipeline.counts.faults == 1
