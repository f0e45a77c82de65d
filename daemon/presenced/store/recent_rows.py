"""Recent activity as rows of the state file, and back."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import msgspec

from presenced.presence import State, Transition
from presenced.recent.activity import RecentActivity
from presenced.recent.mass_events import Ancestors, Counts, MassEvent
from presenced.recent.trend import TrendMinute
from presenced.store.changes import Changes
from presenced.store.schema import MassEventRow, RecentTransitionRow, TrendMinuteRow

_NUMBERS = msgspec.json.Decoder(dict[str, int])
_NAMES = msgspec.json.Decoder(list[str])

R = TypeVar("R", bound=tuple[Any, ...])
T = TypeVar("T")


class RowReader(Protocol):
    """What an earlier process kept."""

    def read(self, row_type: type[R]) -> Iterable[R]:
        """Return all rows of a table, by the type of its rows, in the order of their keys."""


def restore_recent(activity: RecentActivity, rows: RowReader) -> int:
    """Take over rows of an earlier process, and note from now on what is to be saved.

    Returns how many rows have values that presenced never wrote. They are deleted: presence does
    not depend on them. Raises what `rows` raises.
    """
    transitions, bad_transitions = _read(rows.read(RecentTransitionRow), _transition)
    events, bad_events = _read(rows.read(MassEventRow), _mass_event)
    minutes, bad_minutes = _read(rows.read(TrendMinuteRow), _minute)
    activity.restore(transitions.items(), events.values(), minutes.values())
    activity.keep()
    for unsaved, bad in (
        (activity.transitions.unsaved, bad_transitions),
        (activity.mass_events.unsaved, bad_events),
        (activity.trend.unsaved, bad_minutes),
    ):
        if unsaved is not None:
            unsaved.update(bad)
    return len(bad_transitions) + len(bad_events) + len(bad_minutes)


def _read(rows: Iterable[R], decode: Callable[[R], T]) -> tuple[dict[int, T], list[int]]:
    """Return what rows have, and the keys of those that cannot be decoded, both by their keys."""
    found, bad = {}, []
    for row in rows:
        try:
            found[row[0]] = decode(row)
        except ValueError:
            bad.append(row[0])
    return found, bad


def collect_recent(activity: RecentActivity, ancestors: Ancestors, changes: Changes) -> None:
    """Add to `changes` what has changed since it was last collected."""
    for number in _taken(activity.transitions.unsaved):
        transition = activity.transitions.get(number)
        row = None if transition is None else _transition_row(number, transition)
        changes.recent_transitions[number] = row
    for number in _taken(activity.mass_events.unsaved):
        event = activity.mass_events.get(number)
        changes.mass_events[number] = None if event is None else _mass_event_row(event, ancestors)
    for at in _taken(activity.trend.unsaved):
        minute = activity.trend.get(at)
        changes.trend_minutes[at] = None if minute is None else _minute_row(minute)


def _taken(unsaved: set[int] | None) -> Iterable[int]:
    while unsaved:
        yield unsaved.pop()


def _transition_row(number: int, transition: Transition) -> RecentTransitionRow:
    return RecentTransitionRow(
        number,
        transition.time,
        transition.since,
        transition.client_id,
        transition.previous.value,
        transition.state.value,
        transition.reason,
    )


def _transition(row: RecentTransitionRow) -> Transition:
    return Transition(
        row.time, row.since, row.client_id, State(row.previous), State(row.state), row.reason
    )


def _mass_event_row(event: MassEvent, ancestors: Ancestors) -> MassEventRow:
    counts = event.counts(ancestors)
    return MassEventRow(
        event.number,
        event.state.value,
        event.count,
        event.first,
        event.last,
        _encoded(event.reasons),
        _encoded(counts.thing_types),
        _encoded(counts.thing_groups),
        _encoded(event.clients),
    )


def _mass_event(row: MassEventRow) -> MassEvent:
    counts = Counts(_NUMBERS.decode(row.thing_types), _NUMBERS.decode(row.thing_groups))
    return MassEvent(
        row.number,
        State(row.state),
        row.total,
        row.first,
        row.last,
        _NUMBERS.decode(row.reasons),
        _NAMES.decode(row.client_ids),
        counts,
    )


def _minute_row(minute: TrendMinute) -> TrendMinuteRow:
    return TrendMinuteRow(
        minute.at,
        minute.online,
        minute.pending,
        minute.offline,
        minute.to_online,
        minute.to_offline,
        _encoded(minute.reasons),
    )


def _minute(row: TrendMinuteRow) -> TrendMinute:
    return TrendMinute(*row[:-1], _NUMBERS.decode(row.reasons))


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
