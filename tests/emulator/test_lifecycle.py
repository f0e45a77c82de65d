import json
import random
from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.lifecycle import (
    TIMESTAMP_ERROR_MS,
    Connection,
    ConnectionLedger,
    DisconnectReason,
)

NOW = 1_700_000_000.0
WHO = {"principal": "ab" * 32, "ip_address": "192.0.2.7"}

seeds = st.integers(0, 2**32)
names = st.sampled_from(["a", "b", "plant/pump 1", "ß"])


def ledger(seed: int = 1) -> ConnectionLedger:
    return ConnectionLedger(random.Random(seed))


@given(seeds, st.lists(st.tuples(names, st.booleans())))
def test_versions_rise_and_begin_near_zero(seed: int, opened: list[tuple[str, bool]]) -> None:
    book = ledger(seed)
    versions: dict[str, list[int]] = defaultdict(list)
    for name, clean in opened:
        connection = book.open(name, clean_session=clean, **WHO)
        versions[name].append(connection.version)
    for numbers in versions.values():
        assert numbers[0] in (0, 1)
        assert numbers == sorted(set(numbers))


def test_versions_sometimes_skip() -> None:
    book = ledger()
    numbers = [book.open("a", **WHO).version for _ in range(200)]
    steps = {b - a for a, b in pairwise(numbers)}
    assert steps == {1, 2}


@given(seeds, st.lists(st.booleans(), min_size=1))
def test_session_is_new_unless_persistent(seed: int, clean_sessions: list[bool]) -> None:
    book = ledger(seed)
    last: Connection | None = None
    last_clean = True
    for clean in clean_sessions:
        connection = book.open("a", clean_session=clean, **WHO)
        if last is not None:
            kept = not clean and not last_clean
            assert (connection.session == last.session) is kept
        last, last_clean = connection, clean


@given(seeds, names, st.sampled_from(DisconnectReason))
def test_pair_of_events(seed: int, name: str, reason: DisconnectReason) -> None:
    book = ledger(seed)
    connection = book.open(name, **WHO)
    begin = book.connected(connection, NOW)
    end = book.disconnected(connection, reason, NOW + 60)

    assert begin.topic == f"$aws/events/presence/connected/{name}"
    assert end.topic == f"$aws/events/presence/disconnected/{name}"
    assert begin.clients == end.clients == {name}
    first, second = json.loads(begin.payload), json.loads(end.payload)
    assert next(iter(first)) == "clientId"
    for same in ("clientId", "sessionIdentifier", "versionNumber", "principalIdentifier"):
        assert first[same] == second[same]
    assert abs(first["timestamp"] - NOW * 1000) <= TIMESTAMP_ERROR_MS
    assert abs(second["timestamp"] - (NOW + 60) * 1000) <= TIMESTAMP_ERROR_MS
    assert first["ipAddress"] == "192.0.2.7"
    assert "disconnectReason" not in first
    assert second["disconnectReason"] == reason
    assert second["clientInitiatedDisconnect"] is (reason == "CLIENT_INITIATED_DISCONNECT")
    assert "ipAddress" not in second


def test_event_times_are_a_little_off() -> None:
    book = ledger()
    connection = book.open("a", **WHO)
    times = {book.connected(connection, NOW).fields["timestamp"] for _ in range(50)}
    assert len(times) > 25


def test_subscription_events_have_no_version() -> None:
    book = ledger()
    connection = book.open("a", **WHO)
    for event, kind in (
        (book.subscription(connection, "subscribed", "x/#", NOW), "subscribed"),
        (book.subscription(connection, "unsubscribed", "x/#", NOW), "unsubscribed"),
    ):
        assert event.topic == f"$aws/events/subscriptions/{kind}/a"
        assert event.fields["eventType"] == kind
        assert event.fields["topics"] == ["x/#"]
        assert not event.clients


def test_events_name_the_exclusive_thing() -> None:
    book = ledger()
    connection = book.open("plant/pump-1", thing_name="plant-pump-1", **WHO)
    events = [
        book.connected(connection, NOW),
        book.subscription(connection, "subscribed", "x", NOW),
        book.disconnected(connection, DisconnectReason.CONNECTION_LOST, NOW),
    ]
    assert [event.fields["thingName"] for event in events] == ["plant-pump-1"] * 3
    assert "thingName" not in book.connected(book.open("a", **WHO), NOW).fields


def test_same_seed_same_events() -> None:
    def story(seed: int) -> list[bytes]:
        book = ledger(seed)
        return [book.connected(book.open("a", **WHO), NOW).payload for _ in range(5)]

    assert story(7) == story(7)
    assert story(7) != story(8)
