"""Gaps in what was received: who is unverified, and what verifies."""

import pytest

from histories import lifecycle
from presenced.events.model import SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import Client, Presence, PresenceRules, State
from presenced.presence.remembered import ForgottenClients
from recorders import ChangeRecorder, fire
from registries import thing

DELAY, FORGET = 5.0, 100.0
GAP = 1000.0


class Doubted:
    """Clients that are online, pending, offline and unknown, and then a gap."""

    def __init__(self) -> None:
        self.fleet = Fleet(PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET))
        self.presence = self.fleet.presence
        self.now = GAP - 20
        self.tell("offline", connected=False)
        self.tell("online")
        self.fleet.apply_registry(thing("unknown"), self.now)
        self.now = GAP - 1
        self.tell("pending")
        self.tell("pending", connected=False)
        assert {c.client_id: c.state.value for c in self.presence.clients.values()} == {
            state.value: state.value for state in State
        }
        self.now = GAP
        self.presence.note_gap(GAP)
        self.fleet.take_changes()

    def tell(
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
        found = {c.client_id for c in self.presence.clients.values() if self.doubts(c)}
        assert self.presence.counts.unverified == len(found)
        return found

    def doubts(self, client: Client) -> bool:
        return self.presence.is_unverified(client)


def test_who_is_online_or_pending_is_unverified() -> None:
    doubted = Doubted()
    assert doubted.unverified == {"online", "pending"}
    assert doubted.presence.clients["online"].state is State.ONLINE, "what is known stays"
    assert doubted.presence.clients["pending"].state is State.PENDING


@pytest.mark.parametrize("connected", [True, False])
def test_a_later_event_verifies(connected: bool) -> None:
    doubted = Doubted()
    doubted.now += 1
    doubted.tell("online", connected=connected, version=2)
    assert doubted.unverified == {"pending"}
    assert doubted.changed[-1] == "online"


def test_a_duplicate_or_an_older_event_verifies_nothing() -> None:
    doubted = Doubted()
    doubted.tell("online", at=GAP - 20)
    doubted.tell("online", connected=False, version=0, at=GAP - 19)
    assert doubted.unverified == {"online", "pending"}


def test_who_goes_offline_in_time_is_in_doubt_no_longer() -> None:
    doubted = Doubted()
    doubted.wait(DELAY)
    assert doubted.unverified == {"online"}
    assert doubted.presence.clients["pending"].state is State.OFFLINE


def test_who_comes_back_offline_to_online_is_verified() -> None:
    doubted = Doubted()
    doubted.tell("offline", version=2)
    doubted.tell("new")
    assert doubted.unverified == {"online", "pending"}


def test_a_subscription_since_the_gap_verifies_who_is_online() -> None:
    doubted = Doubted()
    doubted.subscribe("online", GAP + 0.5)
    assert doubted.unverified == {"pending"}
    assert doubted.changed == ["online"]
    doubted.subscribe("pending", GAP + 0.5)
    assert doubted.unverified == {"pending"}, "it may have been before the disconnect"


def test_a_subscription_without_event_time_counts_from_its_receipt() -> None:
    doubted = Doubted()
    doubted.subscribe("online", None)
    assert doubted.unverified == {"pending"}


@pytest.mark.parametrize(("at", "kind"), [(GAP - 0.5, "subscribed"), (GAP + 1, "unsubscribed")])
def test_what_is_no_sign_of_life_since_the_gap(at: float, kind: str) -> None:
    doubted = Doubted()
    doubted.subscribe("online", at, kind)
    assert doubted.unverified == {"online", "pending"}
    assert doubted.changed == []


def test_a_client_supposed_online_after_the_gap_is_verified() -> None:
    doubted = Doubted()
    doubted.subscribe("unknown", GAP + 1)
    assert doubted.presence.clients["unknown"].state is State.ONLINE
    assert doubted.unverified == {"online", "pending"}
    doubted.presence.forget("unknown", "requested")
    assert doubted.unverified == {"online", "pending"}


@pytest.mark.parametrize("client_id", ["online", "pending", "offline", "unknown"])
def test_who_is_forgotten_is_not_counted(client_id: str) -> None:
    doubted = Doubted()
    doubted.presence.forget(client_id, "requested")
    assert doubted.unverified == {"online", "pending"} - {client_id}


def test_another_gap_doubts_all_again() -> None:
    doubted = Doubted()
    doubted.tell("online", version=2)
    doubted.presence.note_gap(GAP + 5)
    assert doubted.unverified == {"online", "pending"}
    doubted.presence.note_gap(GAP + 6)
    assert doubted.unverified == {"online", "pending"}, "and none twice"
    doubted.subscribe("online", GAP + 5.5)
    assert doubted.unverified == {"online", "pending"}, "from before the last one"


def test_gaps_of_an_earlier_process_are_counted_on() -> None:
    doubted = Doubted()
    doubted.tell("online", version=2)
    fleet = doubted.fleet = Fleet(PresenceRules())
    presence = doubted.presence = fleet.presence
    presence.restore_gaps(7, GAP + 3)
    for name, epoch in (("doubted", 6), ("verified", 7)):
        presence.restore(Client(name, State.ONLINE, gap_epoch=epoch), None)
    assert doubted.unverified == {"doubted"}
    doubted.subscribe("doubted", GAP + 2)
    assert doubted.unverified == {"doubted"}, "from before the last gap"
    doubted.subscribe("doubted", GAP + 4)
    assert doubted.unverified == set()
    presence.note_gap(GAP + 5)
    assert doubted.unverified == {"doubted", "verified"}


def test_a_forgotten_client_that_is_dropped_for_another_is_told() -> None:
    doubted = Doubted()
    doubted.presence.forgotten = ForgottenClients(limit=1)
    doubted.fleet.forget("online", "requested")
    doubted.fleet.forget("pending", "requested")
    assert doubted.changed == ["online", "pending", "online"]
    assert "online" not in doubted.presence.forgotten


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


def test_what_is_restored_goes_on() -> None:
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


def test_of_too_many_forgotten_clients_the_first_is_dropped() -> None:
    forgotten = ForgottenClients(limit=2)
    assert [forgotten.add(Client(name)) for name in ("a", "b", "c")] == [None, None, "a"]
    assert list(forgotten) == ["b", "c"]
    del forgotten["b"]
    assert forgotten.add(Client("d")) is None
    assert forgotten.get("b") is None
