import random

from presenced_emulator.connections import ConnectionTable
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason

LOST = DisconnectReason.CONNECTION_LOST


def connections(count: int) -> list[Connection]:
    ledger = ConnectionLedger(random.Random(1))
    return [ledger.open("a", principal="ab", ip_address="192.0.2.1") for _ in range(count)]


def test_connect_and_disconnect() -> None:
    table = ConnectionTable()
    (connection,) = connections(1)
    assert table.get("a") is None
    table.open(connection, 10, keep_alive=30)
    record = table.get("a")
    assert record is not None
    assert (record.connected, record.since, record.keep_alive) == (True, 10, 30)
    table.close(connection, LOST, 20)
    record = table.get("a")
    assert record is not None
    assert (record.connected, record.since, record.reason) == (False, 20, LOST)


def test_the_end_of_a_connection_that_was_taken_over_changes_nothing() -> None:
    table = ConnectionTable()
    old, new = connections(2)
    table.open(old, 10)
    table.open(new, 20)
    table.close(old, DisconnectReason.DUPLICATE_CLIENTID, 21)
    record = table.get("a")
    assert record is not None
    assert (record.connected, record.since) == (True, 20)


def test_subscriptions_of_a_clean_session() -> None:
    table = ConnectionTable()
    first, second = connections(2)
    table.open(first, 0)
    table.subscribe("a", "x/#", 1)
    table.subscribe("a", "y", 0)
    table.unsubscribe("a", "y")
    table.unsubscribe("a", "never")
    assert table.subscriptions("a") == {"x/#": 1}
    table.close(first, LOST, 1)
    assert table.subscriptions("a") == {}
    table.open(second, 2)
    assert table.subscriptions("a") == {}


def test_subscriptions_of_a_persistent_session() -> None:
    table = ConnectionTable()
    first, second, third = connections(3)
    table.open(first, 0, clean_session=False)
    table.subscribe("a", "x/#", 1)
    table.close(first, LOST, 1)
    table.open(second, 2, clean_session=False)
    assert table.subscriptions("a") == {"x/#": 1}
    table.open(third, 3)
    assert table.subscriptions("a") == {}


def test_who_is_connected_and_who_was_lately() -> None:
    table = ConnectionTable()
    first, second = connections(2)
    table.open(first, 0)
    assert table.connected == {"a"}
    assert table.ended_since(0) == set()
    table.close(first, LOST, 7)
    assert table.connected == set()
    assert table.ended_since(7) == {"a"}
    assert table.ended_since(7.1) == set()
    table.open(second, 8)
    assert table.ended_since(0) == set()
