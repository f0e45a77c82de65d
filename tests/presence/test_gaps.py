"""Gaps in the received events: which clients are unverified, and what verifies them."""

import pytest

from histories import lifecycle
from presenced.events.model import SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import Client, Presence, PresenceRules, State
from presenced.presence.forgetting import ForgottenClients
from recorders import ChangeRecorder, fire
from registries import thing

DELAY, FORGET = 5.0, 100.0
GAP = 1000.0


class Bench:
    """Clients that are online, pending, offline and unknown, and then a gap."""

    def __init__(self) -> None:
        self.fleet = Fleet(PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET))
        self.presence = self.fleet.presence
        self.now = GAP - 20
        self.receive("offline", connected=False)
        self.receive("online")
        self.fleet.apply_registry(thing("unknown"), self.now)
        self.now = GAP - 1
        self.receive("pending")
        self.receive("pending", connected=False)
        assert {c.client_id: c.state.value for c in self.presence.clients.values()} == {
            state.value: state.value for state in State
        }
        self.now = GAP
        self.presence.note_gap(GAP)
        self.fleet.take_changes()

    def receive(
        self, client_id: str, *, connected: bool = True, version: int = 1, at: float | None = None
    ) -> None:
        event = lifecycle(
            connected=connected,
            timestamp=round((self.now if at is None else at) * 1000),
            version=version,
            session=f"s{version}",
            client_id=client_id,
        )
        self.fleet.apply(event, self.now, self.now)

    def subscribe(self, client_id: str, at: float | None, type: str = "subscribed") -> None:  # noqa: A002
        timestamp = None if at is None else round(at * 1000)
        event = SubscriptionEvent(type=type, client_id=client_id, timestamp=timestamp)
        self.fleet.apply_subscription(event, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.fleet.fire(self.now, 0.0)

    @property
    def changed(self) -> list[str]:
        """The clients that changed since the last look."""
        recorder = ChangeRecorder()
        recorder.add(self.fleet.take_changes().clients)
        return recorder.changed

    @property
    def unverified(self) -> set[str]:
        found = {
            c.client_id for c in self.presence.clients.values() if self.presence.is_unverified(c)
        }
        counted = self.presence.counts.unverified
        assert sum(counted.values()) - counted[State.UNKNOWN] == len(found)
        return found


def test_all_clients_with_events_become_unverified() -> None:
    bench = Bench()
    assert bench.unverified == {"online", "pending", "offline"}
    assert bench.presence.clients["online"].state is State.ONLINE, "the state stays"
    assert bench.presence.clients["pending"].state is State.PENDING


@pytest.mark.parametrize("connected", [True, False])
def test_a_later_event_verifies(connected: bool) -> None:
    bench = Bench()
    bench.now += 1
    bench.receive("online", connected=connected, version=2)
    assert bench.unverified == {"pending", "offline"}
    assert bench.changed[-1] == "online"


def test_a_duplicate_or_an_older_event_verifies_nothing() -> None:
    bench = Bench()
    bench.receive("online", at=GAP - 20)
    bench.receive("online", connected=False, version=0, at=GAP - 19)
    assert bench.unverified == {"online", "pending", "offline"}


def test_a_disconnect_of_before_the_gap_verifies_nothing_when_its_delay_is_over() -> None:
    """The connect that was in time for it may have been lost in the gap."""
    bench = Bench()
    bench.wait(DELAY)
    assert bench.presence.clients["pending"].state is State.OFFLINE
    assert bench.unverified == {"online", "pending", "offline"}


def test_a_disconnect_after_the_gap_verifies() -> None:
    bench = Bench()
    bench.receive("online", connected=False)
    bench.wait(DELAY)
    assert bench.presence.clients["online"].state is State.OFFLINE
    assert bench.unverified == {"pending", "offline"}


def test_a_client_whose_first_event_is_a_disconnect_is_unverified() -> None:
    bench = Bench()
    bench.receive("new", connected=False)
    assert bench.unverified == {"online", "pending", "offline", "new"}
    bench.receive("new", version=2)
    assert bench.unverified == {"online", "pending", "offline"}


def test_a_client_that_returns_from_offline_is_verified() -> None:
    bench = Bench()
    bench.receive("offline", version=2)
    bench.receive("new")
    assert bench.unverified == {"online", "pending"}


def test_a_subscription_after_the_gap_verifies_an_online_client() -> None:
    bench = Bench()
    bench.subscribe("online", GAP + 0.5)
    assert bench.unverified == {"pending", "offline"}
    assert bench.changed == ["online"]
    bench.subscribe("pending", GAP + 0.5)
    assert bench.unverified == {"pending", "offline"}, "it may have been before the disconnect"


def test_a_subscription_without_event_time_counts_from_its_receipt() -> None:
    bench = Bench()
    bench.subscribe("online", None)
    assert bench.unverified == {"pending", "offline"}


@pytest.mark.parametrize(("at", "kind"), [(GAP - 0.5, "subscribed"), (GAP + 1, "unsubscribed")])
def test_events_that_are_no_sign_of_life_verify_nothing(at: float, kind: str) -> None:
    bench = Bench()
    bench.subscribe("online", at, kind)
    assert bench.unverified == {"online", "pending", "offline"}
    assert bench.changed == []


def test_a_client_supposed_online_after_the_gap_is_verified() -> None:
    bench = Bench()
    bench.subscribe("unknown", GAP + 1)
    assert bench.presence.clients["unknown"].state is State.ONLINE
    assert bench.unverified == {"online", "pending", "offline"}
    bench.presence.forget("unknown", "requested")
    assert bench.unverified == {"online", "pending", "offline"}


@pytest.mark.parametrize("client_id", ["online", "pending", "offline", "unknown"])
def test_a_forgotten_client_does_not_count_as_unverified(client_id: str) -> None:
    bench = Bench()
    bench.presence.forget(client_id, "requested")
    assert bench.unverified == {"online", "pending", "offline"} - {client_id}


def test_another_gap_makes_all_clients_unverified_again() -> None:
    bench = Bench()
    bench.receive("online", version=2)
    bench.presence.note_gap(GAP + 5)
    assert bench.unverified == {"online", "pending", "offline"}
    bench.presence.note_gap(GAP + 6)
    assert bench.unverified == {"online", "pending", "offline"}, "and none twice"
    bench.subscribe("online", GAP + 5.5)
    assert bench.unverified == {"online", "pending", "offline"}, "from before the last one"


def test_gaps_of_an_earlier_process_are_counted_on() -> None:
    bench = Bench()
    bench.receive("online", version=2)
    fleet = bench.fleet = Fleet(PresenceRules())
    presence = bench.presence = fleet.presence
    presence.restore_gaps(7, GAP + 3)
    for name, epoch in (("unverified", 6), ("verified", 7)):
        presence.restore(Client(name, State.ONLINE, gap_epoch=epoch), None)
    assert bench.unverified == {"unverified"}
    bench.subscribe("unverified", GAP + 2)
    assert bench.unverified == {"unverified"}, "from before the last gap"
    bench.subscribe("unverified", GAP + 4)
    assert bench.unverified == set()
    presence.note_gap(GAP + 5)
    assert bench.unverified == {"unverified", "verified"}


def test_a_change_names_the_forgotten_client_that_was_dropped() -> None:
    bench = Bench()
    bench.presence.forgotten = ForgottenClients(limit=1)
    bench.fleet.forget("online", "expired")
    bench.fleet.forget("pending", "expired")
    assert bench.changed == ["online", "pending", "online"]
    assert "online" not in bench.presence.forgotten


def test_restoring_changes_nothing() -> None:
    fleet = Fleet(PresenceRules())
    presence = fleet.presence
    for state in State:
        client = Client(state.value)
        client.state = state
        fleet.restore(client, 50.0 if state in (State.PENDING, State.OFFLINE) else None, [])
    assert fleet.take_changes().clients == []
    assert presence.counts.clients == dict.fromkeys(State, 1)
    assert presence.deadlines.next == 50.0


def test_restored_deadlines_continue() -> None:
    presence = Presence(PresenceRules(forget_offline_after=FORGET))
    pending = Client("pending")
    pending.state, pending.since = State.PENDING, 40.0
    online = Client("online")
    online.state = State.ONLINE
    presence.restore(pending, 45.0)
    presence.restore(online, None, [(online.stamp, 60.0), (online.stamp._replace(version=1), 70.0)])
    fire(presence, 60.0)
    assert presence.clients["pending"].state is State.OFFLINE
    assert presence.clients["pending"].transition == 40.0
    assert presence.counts.missed["disconnected"] == 1
    fire(presence, 70.0)
    assert presence.counts.missed["disconnected"] == 2
    assert not online.replaced
    fire(presence, 45.0 + FORGET)
    assert set(presence.clients) == {"online"}


def test_the_oldest_forgotten_client_is_dropped_first() -> None:
    forgotten = ForgottenClients(limit=2)
    assert [forgotten.add(Client(name)) for name in ("a", "b", "c")] == [None, None, "a"]
    assert list(forgotten) == ["b", "c"]
    del forgotten["b"]
    assert forgotten.add(Client("d")) is None
    assert forgotten.get("b") is None
