"""The state table, and what is counted on the way."""

from itertools import islice

import pytest

from histories import lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import Client, Presence, PresenceRules, State
from recorders import ChangeRecorder, fire, pending_deadlines

MINUTE = 60_000


class Bench:
    """Presence with a clock that the test moves."""

    def __init__(self, **rules: object) -> None:
        self.recorder = ChangeRecorder()
        self.transitions = self.recorder.transitions
        self.forgotten = self.recorder.forgotten
        self.presence = Presence(PresenceRules(**rules))
        self.now = 1000.0
        self.counts = self.presence.counts

    def connect(self, version: int = 1, session: str = "s", **fields: object) -> None:
        self.apply(connected=True, version=version, session=session, **fields)

    def disconnect(self, version: int = 1, session: str = "s", **fields: object) -> None:
        fields.setdefault("reason", "CONNECTION_LOST")
        self.apply(connected=False, version=version, session=session, **fields)

    def apply(self, *, client_initiated: bool | None = None, **fields: object) -> None:
        fields.setdefault("timestamp", round(self.now * 1000))
        event: LifecycleEvent = lifecycle(**fields)  # type: ignore[arg-type]
        event.client_initiated = client_initiated
        self.recorder.add([self.presence.apply(event, self.now, self.now)])

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.recorder.add(fire(self.presence, self.now))

    @property
    def client(self) -> Client:
        return self.presence.clients["client"]

    @property
    def went(self) -> list[tuple[float, float, str, str, str | None]]:
        return [(t.time, t.since, t.previous, t.state, t.reason) for t in self.transitions]


def test_connect_of_an_unknown_client() -> None:
    bench = Bench()
    bench.connect()
    assert bench.client.state is State.ONLINE
    assert bench.went == [(1000.0, 1000.0, "unknown", "online", None)]
    assert bench.counts.clients == {"online": 1, "pending": 0, "offline": 0, "unknown": 0}


def test_offline_clients_count_by_few_reasons() -> None:
    bench = Bench()
    for number, reason in enumerate(["CONNECTION_LOST", "CONNECTION_LOST", None, "", "X1", "X2"]):
        client_id = f"c-{number}"
        bench.apply(client_id=client_id, connected=False, version=1, session="s", reason=reason)
    assert bench.counts.offline_by_reason == {"CONNECTION_LOST": 2, "": 2, "other": 2}
    bench.apply(client_id="c-0", connected=False, version=2, session="t", reason="FORBIDDEN_ACCESS")
    bench.apply(client_id="c-1", connected=True, version=2, session="t")
    bench.presence.forget("c-5", "requested")
    counted = {name: count for name, count in bench.counts.offline_by_reason.items() if count}
    assert counted == {"FORBIDDEN_ACCESS": 1, "": 2, "other": 1}


def test_disconnect_of_an_unknown_client_needs_no_delay() -> None:
    bench = Bench()
    bench.disconnect()
    assert bench.went == [(1000.0, 1000.0, "unknown", "offline", "CONNECTION_LOST")]
    assert bench.counts.missed == {"connected": 1, "disconnected": 0}


def test_a_disconnect_stands_for_the_offline_delay() -> None:
    bench = Bench()
    bench.connect()
    bench.wait(60)
    bench.disconnect()
    bench.wait(4.999)
    assert bench.client.state is State.PENDING
    assert bench.client.since == 1060.0
    assert len(bench.transitions) == 1
    bench.wait(0.001)
    assert bench.went[1] == (1065.0, 1060.0, "online", "offline", "CONNECTION_LOST")
    assert bench.client.since == 1060.0


def test_a_late_look_at_the_clock_confirms_at_the_deadline() -> None:
    bench = Bench()
    bench.connect()
    bench.disconnect()
    bench.wait(3600)
    assert bench.transitions[1].time == 1005.0


def test_a_connect_within_the_delay_is_a_suppressed_flap() -> None:
    bench = Bench()
    bench.connect(1)
    bench.wait(60)
    bench.disconnect(1)
    bench.wait(4)
    bench.connect(2, "t")
    bench.wait(100)
    assert bench.client.state is State.ONLINE
    assert bench.client.since == 1000.0, "online since before the flap"
    assert bench.client.reason is None
    assert len(bench.transitions) == 1
    assert bench.counts.flaps_suppressed == 1
    assert bench.counts.connections_replaced == 0


def test_pending_keeps_its_deadline_and_takes_the_new_reason() -> None:
    bench = Bench()
    bench.connect(1)
    bench.disconnect(1)
    bench.wait(3)
    bench.disconnect(2, "t", reason="THROTTLED")
    bench.wait(2)
    assert bench.went[1] == (1005.0, 1000.0, "online", "offline", "THROTTLED")
    assert bench.counts.missed["connected"] == 1


def test_offline_stays_offline_and_takes_the_new_reason() -> None:
    bench = Bench()
    bench.disconnect(1)
    bench.wait(60)
    bench.disconnect(2, "t", reason="THROTTLED")
    assert (bench.client.state, bench.client.since) == (State.OFFLINE, 1000.0)
    assert bench.client.reason == "THROTTLED"
    assert len(bench.transitions) == 1


def test_offline_and_back() -> None:
    bench = Bench()
    bench.connect(1)
    bench.disconnect(1)
    bench.wait(100)
    bench.connect(2, "t")
    assert [t.state for t in bench.transitions] == ["online", "offline", "online"]
    assert bench.counts.offline_duration.sum == 100.0
    assert bench.counts.transitions == {"online": 2, "offline": 1}


def test_delay_by_reason() -> None:
    bench = Bench(offline_delay_by_reason={"CLIENT_INITIATED_DISCONNECT": 0.0, "THROTTLED": 30.0})
    bench.connect(1)
    bench.disconnect(1, reason="CLIENT_INITIATED_DISCONNECT")
    assert bench.went[1][:2] == (1000.0, 1000.0), "0 s means at once"
    bench.connect(2, "t")
    bench.disconnect(2, "t", reason="THROTTLED")
    bench.wait(29.9)
    assert bench.client.state is State.PENDING
    bench.wait(0.1)
    assert bench.client.state is State.OFFLINE


def test_a_replaced_connection_whose_disconnect_comes() -> None:
    bench = Bench()
    bench.connect(1)
    bench.connect(2, "t")
    assert bench.counts.connections_replaced == 1
    bench.wait(3)
    bench.disconnect(1, reason="DUPLICATE_CLIENTID")
    bench.wait(100)
    assert bench.client.state is State.ONLINE
    assert len(bench.transitions) == 1
    assert bench.counts.missed["disconnected"] == 0
    assert bench.counts.disconnects["DUPLICATE_CLIENTID", "server"] == 1
    assert bench.counts.ignored == {"duplicate": 0, "stale": 1}


def test_a_replaced_connection_whose_disconnect_is_missed() -> None:
    bench = Bench()
    bench.connect(1)
    bench.connect(2, "t")
    bench.wait(4.9)
    assert bench.counts.missed["disconnected"] == 0
    bench.wait(0.1)
    assert bench.counts.missed["disconnected"] == 1
    bench.disconnect(1)
    assert bench.counts.disconnects["CONNECTION_LOST", "server"] == 1, "late is not never"


def test_the_version_identifies_a_replaced_connection_of_a_persistent_session() -> None:
    bench = Bench()
    bench.connect(1)
    bench.connect(2)
    bench.connect(3)
    bench.disconnect(2)
    bench.wait(10)
    assert bench.counts.missed["disconnected"] == 1, "that of version 1"


def test_each_disconnect_is_counted_once() -> None:
    bench = Bench()
    bench.connect(1)
    bench.disconnect(1)
    bench.disconnect(1)
    bench.connect(2, "t")
    bench.disconnect(1)
    bench.connect(4, "v")
    bench.disconnect(3, "u")
    bench.disconnect(3, "u")
    bench.disconnect(2, "t")
    assert sum(bench.counts.disconnects.values()) == 3
    assert bench.counts.ignored == {"duplicate": 1, "stale": 4}


def test_which_side_initiated_a_disconnect() -> None:
    bench = Bench()
    stated = [(True, "CONNECTION_LOST"), (False, "CLIENT_INITIATED_DISCONNECT")]
    guessed = [(None, "CLIENT_INITIATED_DISCONNECT"), (None, None), (None, "A_NEW_REASON")]
    for version, (initiated, reason) in enumerate([*stated, *guessed]):
        bench.disconnect(version, f"s{version}", reason=reason, client_initiated=initiated)
    assert bench.counts.disconnects == {
        ("CONNECTION_LOST", "client"): 1,
        ("CLIENT_INITIATED_DISCONNECT", "server"): 1,
        ("CLIENT_INITIATED_DISCONNECT", "client"): 1,
        ("other", "server"): 2,
    }


def test_session_durations_are_those_of_event_times() -> None:
    bench = Bench()
    bench.connect(1, timestamp=0)
    bench.wait(500)
    bench.disconnect(1, timestamp=90_000)
    assert bench.counts.session_duration.sum == 90.0
    bench.disconnect(2, "t", timestamp=10 * MINUTE)
    assert sum(bench.counts.session_duration.buckets) == 1, "its connect was never seen"


def test_a_reset_is_counted() -> None:
    bench = Bench()
    bench.connect(7)
    bench.disconnect(7)
    bench.wait(2 * 3600)
    bench.connect(0, "t")
    assert bench.client.state is State.ONLINE
    assert bench.counts.version_resets == 1


def test_an_offline_client_is_forgotten() -> None:
    bench = Bench(forget_offline_after=86400.0)
    bench.connect(1)
    bench.disconnect(1)
    bench.wait(5 + 86399)
    assert bench.forgotten == []
    bench.wait(1)
    assert bench.forgotten == ["client"]
    assert bench.presence.clients == {}
    assert bench.counts.clients == dict.fromkeys(State, 0)
    assert bench.counts.forgotten == {"expired": 1, "thing_deleted": 0, "requested": 0}


@pytest.mark.parametrize("then", ["online", "pending"])
def test_a_client_that_came_back_is_not_forgotten(then: str) -> None:
    bench = Bench(forget_offline_after=86400.0, offline_delay_by_reason={"THROTTLED": 10.0**9})
    bench.connect(1)
    bench.disconnect(1)
    bench.wait(86400)
    bench.connect(2, "t")
    if then == "pending":
        bench.disconnect(2, "t", reason="THROTTLED")
    bench.wait(10 * 86400)
    assert bench.client.state == then
    assert bench.forgotten == []


@pytest.mark.parametrize("forgotten_before", [False, True])
def test_a_request_forgets_what_orders_late_events_too(forgotten_before: bool) -> None:
    bench = Bench(forget_offline_after=86400.0)
    bench.connect(7, timestamp=10**15)
    bench.disconnect(7, timestamp=10**15)
    bench.wait(5 + 86400 * forgotten_before)
    bench.recorder.add([bench.presence.forget("client", "requested")])
    assert bench.recorder.changed[-1] == "client", "its row in the state file must go"
    assert len(bench.presence.forgotten) == 0
    bench.connect(6)
    assert bench.client.state is State.ONLINE
    assert bench.presence.forget("never seen", "requested") is None
    assert bench.counts.forgotten["requested"] == (not forgotten_before)


def test_forgetting_leaves_no_deadline_behind() -> None:
    bench = Bench()
    bench.connect(1)
    bench.connect(2)
    bench.disconnect(2)
    assert pending_deadlines(bench.presence) == 2
    bench.presence.forget("client", "expired")
    bench.presence.forget("a client that nobody knows", "expired")
    assert pending_deadlines(bench.presence) == 0
    assert bench.presence.deadlines.next is None
    bench.wait(100)
    assert bench.counts.missed["disconnected"] == 0


def test_disconnects_after_a_reset_count_although_their_versions_repeat() -> None:
    bench = Bench()
    for _ in range(3):
        for version in range(3):
            bench.connect(version)
            bench.wait(60)
            bench.disconnect(version)
            bench.wait(60)
        bench.wait(2 * 3600)
    assert bench.counts.transitions[State.OFFLINE] == 9
    assert sum(bench.counts.disconnects.values()) == 9
    assert bench.counts.version_resets == 2


def test_the_duration_of_a_session_that_was_taken_over_counts() -> None:
    bench = Bench()
    bench.connect(1, timestamp=0)
    bench.connect(2, "t", timestamp=60_000)
    bench.disconnect(1, timestamp=61_000)
    assert bench.counts.session_duration.sum == 61.0


def test_endless_connects_cost_bounded_memory() -> None:
    """Two devices that share a client ID, and no disconnect ever delivered."""
    bench = Bench(offline_delay=10.0**6)
    for version in range(1000):
        bench.connect(version)
    assert len(bench.client.replaced or ()) == 64
    assert bench.counts.missed["disconnected"] == 999 - 64
    assert pending_deadlines(bench.presence) == 64
    bench.wait(10.0**6)
    assert bench.counts.missed["disconnected"] == 999
    assert not bench.client.replaced


def test_deadlines_may_be_fired_some_at_a_time() -> None:
    bench = Bench()
    for number in range(5):
        bench.connect(1, client_id=f"c{number}")
        bench.disconnect(1, client_id=f"c{number}")
    assert len(list(islice(bench.presence.fire(2000.0, 0.0), 2))) == 2
    assert bench.counts.clients[State.OFFLINE] == 2
    assert bench.presence.deadlines.next == 1005.0
    fire(bench.presence, 2000.0)
    assert bench.counts.clients[State.OFFLINE] == 5


def test_changes_say_which_state_is_left_and_which_is_entered() -> None:
    presence = Presence(PresenceRules())
    connect = lifecycle(connected=True, timestamp=0, version=1, session="s")
    disconnect = lifecycle(connected=False, timestamp=1, version=1, session="s")
    changes = [
        presence.apply(connect, 1.0, 1.0),
        presence.apply(disconnect, 1.0, 1.0),
        presence.forget("client", "expired"),
    ]
    assert [(change.before, change.after) for change in changes if change] == [
        (None, "online"),
        ("online", "pending"),
        ("pending", None),
    ]
