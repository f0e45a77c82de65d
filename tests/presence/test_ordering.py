"""Each rule of ordering, at its bounds."""

import pytest

from presenced.presence.client import EventStamp
from presenced.presence.ordering import (
    Ordering,
    OrderingRules,
    is_ambiguous,
    order,
    same_connection,
)

A, R = 120_000, 3_600_000
RULES = OrderingRules(timestamp_accuracy=A, version_reset_after=R)
LATER, RESET = Ordering.LATER, Ordering.LATER_AFTER_RESET
STALE, DUPLICATE = Ordering.STALE, Ordering.DUPLICATE


def connect(at: int = 0, version: int | None = 1, session: str | None = "s") -> EventStamp:
    return EventStamp(True, at, version, session)


def disconnect(at: int = 0, version: int | None = 1, session: str | None = "s") -> EventStamp:
    return EventStamp(False, at, version, session)


@pytest.mark.parametrize(
    ("event", "last", "expected"),
    [
        # One connection.
        (connect(5), connect(), DUPLICATE),
        (disconnect(5), disconnect(), DUPLICATE),
        (disconnect(-2 * A), connect(), LATER),
        (connect(2 * A), disconnect(), STALE),
        # Further apart they are two: brokers may give every connection one session and version.
        (connect(2 * A + 1), disconnect(), LATER),
        (connect(2 * A + 1), connect(), LATER),
        (disconnect(2 * A + 1), disconnect(), LATER),
        (disconnect(-2 * A - 1), connect(), STALE),
        (connect(-2 * A - 1), connect(), STALE),
        (connect(2 * A + 1, session=None), disconnect(), LATER),
        (disconnect(session=None), connect(), LATER),
        (connect(session=None), disconnect(), STALE),
        (connect(), connect(session=None), DUPLICATE),
        # A higher version is later, unless a reset lies between and it comes before.
        (connect(-2 * A, version=2), connect(), LATER),
        (connect(-2 * A - 1, version=2), connect(), STALE),
        (disconnect(-2 * A, version=2), connect(), LATER),
        (disconnect(-2 * A - 1, version=2), connect(), STALE),
        (connect(-(R - 2 * A) + 1, version=2), disconnect(), LATER),
        (connect(-(R - 2 * A), version=2), disconnect(), STALE),
        (disconnect(-(R - 2 * A) + 1, version=2), disconnect(), LATER),
        (disconnect(-(R - 2 * A), version=2), disconnect(), STALE),
        # A lower version is stale, unless a reset lies between and it comes after.
        (connect(2 * A, version=0), connect(), STALE),
        (connect(2 * A + 1, version=0), connect(), RESET),
        (connect(2 * A, version=0), disconnect(), STALE),
        (connect(2 * A + 1, version=0), disconnect(), RESET),
        (disconnect(R - 2 * A - 1, version=0), connect(), STALE),
        (disconnect(R - 2 * A, version=0), connect(), RESET),
        (disconnect(R - 2 * A - 1, version=0), disconnect(), STALE),
        (disconnect(R - 2 * A, version=0), disconnect(), RESET),
        # The same version of different sessions: event time, then order of receipt.
        (connect(1, session="t"), disconnect(), LATER),
        (connect(0, session="t"), disconnect(), LATER),
        (connect(-1, session="t"), disconnect(), STALE),
        # A version is missing: far apart event times decide.
        (connect(2 * A + 1, version=None), disconnect(), LATER),
        (disconnect(-2 * A - 1, version=None), connect(), STALE),
        (connect(2 * A + 1), connect(version=None), LATER),
        # Near ones: within one session a disconnect is later than a connect.
        (disconnect(-2 * A, version=None), connect(), LATER),
        (connect(2 * A, version=None), disconnect(), STALE),
        (connect(2 * A, version=None), connect(version=None), DUPLICATE),
        # Else event time, then order of receipt.
        (connect(1, version=None, session="t"), disconnect(), LATER),
        (connect(0, version=None, session="t"), disconnect(), LATER),
        (connect(-1, version=None, session="t"), disconnect(), STALE),
        (connect(0, version=None, session=None), disconnect(version=None, session=None), LATER),
    ],
)
def test_order(event: EventStamp, last: EventStamp, expected: Ordering) -> None:
    assert order(event, last, RULES) is expected


@pytest.mark.parametrize(
    ("gap", "ambiguous"),
    [(2 * A, False), (2 * A + 1, True), (R - 2 * A - 1, True), (R - 2 * A, False)],
)
def test_two_disconnects_are_ambiguous_in_either_order(gap: int, ambiguous: bool) -> None:
    high, low = disconnect(0, version=5), disconnect(gap, version=1)
    assert is_ambiguous(high, low, RULES) is ambiguous
    assert is_ambiguous(low, high, RULES) is ambiguous


def test_only_disconnects_of_different_versions_are_ambiguous() -> None:
    low = disconnect(10 * A, version=1)
    assert not is_ambiguous(connect(version=5), low, RULES)
    assert not is_ambiguous(low, connect(version=5), RULES)
    assert not is_ambiguous(disconnect(version=1), low, RULES)
    assert not is_ambiguous(disconnect(version=None), low, RULES)


def test_session_and_version_identify_a_connection() -> None:
    assert same_connection(connect(), disconnect())
    assert same_connection(connect(), disconnect(session=None))
    assert not same_connection(connect(), disconnect(version=2)), "a persistent session"
    assert not same_connection(connect(), disconnect(session="t")), "a version after a reset"
