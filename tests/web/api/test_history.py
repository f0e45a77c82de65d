"""What is remembered of events, and what each did."""

import pytest

from api_fleet import START, ApiFleet
from presenced.presence import PresenceRules
from presenced.web.api.history import Confirmation, ReceivedEvent, RecordEntry


def recorded(fleet: ApiFleet, client_id: str = "a") -> list[tuple[float, str, str]]:
    """Each entry as seconds after the start, type, and what it did."""
    lines = []
    for entry in reversed(fleet.part.history.entries(client_id)):
        if isinstance(entry, Confirmation):
            lines.append((entry.time - START, "confirmed", entry.reason))
        elif isinstance(entry, RecordEntry):
            lines.append((entry.time - START, "record", str(entry.effect)))
        else:
            lines.append((entry.received - START, entry.type, str(entry.effect)))
    return lines


def test_each_event_and_what_it_did():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("disconnected", version=1, at=10, disconnectReason="CONNECTION_LOST")
    fleet.hear("connected", version=2, at=12)
    fleet.hear("connected", version=3, at=20)
    fleet.hear("disconnected", version=2, at=21)
    fleet.hear("connected", version=3, at=22)
    fleet.hear("disconnected", version=3, at=30, disconnectReason="CLIENT_ERROR")
    fleet.wait(40)
    fleet.hear("disconnected", version=4, at=50)
    fleet.hear("connected", version=5, at=60)
    assert recorded(fleet) == [
        (0, "connected", "went_online"),
        (10, "disconnected", "began_delay"),
        (12, "connected", "flap_suppressed"),
        (20, "connected", "connection_replaced"),
        (21, "disconnected", "stale"),
        (22, "connected", "duplicate"),
        (30, "disconnected", "began_delay"),
        (35, "confirmed", "CLIENT_ERROR"),
        (50, "disconnected", "noted"),
        (60, "connected", "went_online"),
    ]


def test_without_a_delay_the_disconnect_itself_takes_it_offline():
    fleet = ApiFleet(PresenceRules(offline_delay=0.0))
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10)
    assert recorded(fleet) == [
        (0, "connected", "went_online"),
        (10, "disconnected", "went_offline"),
    ]


def test_a_first_disconnect_takes_it_offline():
    fleet = ApiFleet()
    fleet.hear("disconnected", at=10)
    assert recorded(fleet) == [(10, "disconnected", "went_offline")]


def test_a_subscription_counts_where_it_shows_that_a_client_is_online():
    fleet = ApiFleet()
    fleet.hear("subscribed", at=0)
    fleet.hear("subscribed", at=1)
    fleet.hear("connected", at=2, happened=0)
    fleet.hear("subscribed", at=3)
    assert recorded(fleet) == [(0, "subscribed", "went_online"), (2, "connected", "noted")]
    record = fleet.part.history.get("a")
    assert record.last_by_type["subscribed"].received == START + 3


def test_a_refused_client_that_is_known_has_it_in_its_history():
    fleet = ApiFleet()
    fleet.hear("connect_failed", at=0, connectFailureReason="AUTHORIZATION_FAILED")
    assert not recorded(fleet, "a"), "a refusal does not make a client known"
    fleet.hear("connected", at=1)
    fleet.hear("connect_failed", at=2, connectFailureReason="AUTHORIZATION_FAILED")
    assert recorded(fleet)[-1] == (2, "connect_failed", "noted")
    assert (
        fleet.part.history.get("a").last_by_type["connect_failed"].reason == "AUTHORIZATION_FAILED"
    )


def test_what_was_ignored_since_the_event_that_decided():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("connected", version=1, at=1, happened=0)
    fleet.hear("connected", version=3, at=2)
    fleet.hear("disconnected", version=1, at=9, happened=2)
    fleet.hear("connected", version=2, at=10, happened=1)
    record = fleet.part.history.get("a")
    assert (record.decided.type, record.decided.version) == ("connected", 3)
    assert [(each.type, each.version) for each in record.ignored] == [
        ("disconnected", 1),
        ("connected", 2),
    ]
    ignored = record.ignored[0]
    assert ignored.lateness == 7
    assert (ignored.against.connected, ignored.against.version) == (True, 3)
    assert ignored.against.timestamp == round((START + 2) * 1000)


def test_an_event_without_a_time_is_not_late():
    fleet = ApiFleet()
    fleet.hear("connected", at=5, timestamp=None)
    assert fleet.part.history.get("a").decided.lateness is None


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_only_the_last_events_of_a_client_are_kept(limit):
    fleet = ApiFleet(per_client=limit)
    for number in range(100):
        fleet.hear("connected", version=number, at=number)
        assert fleet.part.history.get("a").length <= limit + 8
    assert [at for at, _, _ in recorded(fleet)] == [97, 98, 99][-limit:]


def test_only_the_clients_with_the_latest_events_are_kept():
    fleet = ApiFleet(clients=2)
    for at, client_id in enumerate("abac"):
        fleet.hear("connected", client_id, version=at, at=at)
    assert [name for name in "abc" if recorded(fleet, name)] == ["a", "c"]


def test_a_confirmation_does_not_bring_a_history_back():
    fleet = ApiFleet(clients=1)
    fleet.hear("connected", "a", at=0)
    fleet.hear("disconnected", "a", at=1)
    fleet.hear("connected", "b", at=2)
    fleet.wait(20)
    assert not recorded(fleet, "a")


@pytest.mark.parametrize("clients", [0, 5])
def test_nothing_is_kept_of_a_forgotten_client(clients):
    fleet = ApiFleet(clients=clients)
    fleet.hear("connected", at=0)
    fleet.pipeline.forget(["a"], "expired")
    assert not recorded(fleet, "a")
    fleet.hear("disconnected", version=0, at=1)
    assert not recorded(fleet, "a"), "an old event does not bring a forgotten client back"


def test_entries_are_in_order_of_time():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=1)
    fleet.hear("connected", version=2, at=30)
    times = [
        entry.received if isinstance(entry, ReceivedEvent) else entry.time
        for entry in fleet.part.history.entries("a")
    ]
    assert times == [START + 30, START + 6, START + 1, START]


def test_what_cannot_be_told_from_before_is_left_out():
    fleet = ApiFleet(metrics={"api": True})
    fleet.hear("connected", "presenced", at=0)
    assert not recorded(fleet, "presenced"), "our own clients are not shown"


def test_lookups_and_their_answers():
    fleet = ApiFleet(asking=True)
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10)
    fleet.wait(15)
    fleet.asked("a", connected=True, since=11, at=16, operation="GetConnection")
    fleet.hear("disconnected", at=300)
    fleet.wait(305)
    fleet.asked("a", connected=False, since=300, at=306, operation="GetConnection")
    fleet.hear("connected", version=2, at=400)
    fleet.hear("disconnected", version=2, at=410, disconnectReason="CLIENT_ERROR")
    fleet.wait(420)
    assert recorded(fleet)[2:] == [
        (15, "record", "asked"),
        (16, "record", "offline_prevented"),
        (300, "disconnected", "began_delay"),
        (305, "record", "asked"),
        (306, "record", "offline_confirmed"),
        (306, "confirmed", None),
        (400, "connected", "went_online"),
        (410, "disconnected", "began_delay"),
        (415, "record", "asked"),
        (417, "record", "unanswered"),
        (417, "confirmed", "CLIENT_ERROR"),
    ]


def test_a_snapshot_that_adopts_the_fleet_displaces_no_history():
    fleet = ApiFleet(clients=2)
    fleet.hear("connected", "a", at=0)
    for name in "bcd":
        fleet.asked(name, connected=True, since=-60, at=1)
    assert [name for name in "abcd" if recorded(fleet, name)] == ["a"]


def test_a_correction_is_an_entry_of_its_own_and_no_end_of_a_delay():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START + 10)
    fleet.asked("a", connected=False, since=1000, at=2000)
    assert recorded(fleet)[1:] == [(2000, "record", "corrected")]
