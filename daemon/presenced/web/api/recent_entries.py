"""What happened in the last hours, as answers."""

from collections.abc import Sequence

import msgspec

from presenced.fleet import Fleet
from presenced.presence import State, Transition
from presenced.presence.counts import StateCounts
from presenced.recent.activity import RecentActivity
from presenced.recent.mass_events import Counts, MassEvent
from presenced.system.loop import TimeSlice
from presenced.system.shares import percent
from presenced.system.timestamps import format_utc
from presenced.web.api import activity_answers as answers
from presenced.web.api.answer_builder import transition_answer
from presenced.web.api.parameters import RecentRequest

_MAIN_SHARE = 0.5
_MIN_EXCESS = 0.2
"""By how much the share of a group in a mass event must exceed its share of the fleet."""


async def recent_answer(
    activity: RecentActivity, fleets: Sequence[Fleet], request: RecentRequest, turn: TimeSlice
) -> answers.Recent:
    """Return a page of what happened, made in slices; without fleets there is nothing to show."""
    if not fleets:
        return answers.Recent(entries=[], next_before=None)
    entries, following = activity.page(request.limit, request.before, request.kind)
    shown: list[answers.RecentTransition | answers.MassEvent] = []
    for entry in entries:
        shown.append(
            _transition(entry.what)
            if isinstance(entry.what, Transition)
            else _mass_event(entry.what, fleets)
        )
        await turn.yield_if_due()
    return answers.Recent(entries=shown, next_before=following)


def _transition(transition: Transition) -> answers.RecentTransition:
    return answers.RecentTransition(**msgspec.structs.asdict(transition_answer(transition)))


def _mass_event(event: MassEvent, fleets: Sequence[Fleet]) -> answers.MassEvent:
    counts = event.counts(fleets[0].inventory.with_ancestors)
    return answers.MassEvent(
        state=event.state,
        count=event.count,
        first=format_utc(event.first),
        last=format_utc(event.last),
        reasons=dict(event.reasons),
        thing_types=counts.thing_types,
        thing_groups=counts.thing_groups,
        text=_text(event, counts, fleets),
        clients=[_member(client_id, fleets) for client_id in event.clients],
    )


def _member(client_id: str, fleets: Sequence[Fleet]) -> answers.MassEventClient:
    found = (fleet.presence.clients.get(client_id) for fleet in fleets)
    client = next((client for client in found if client is not None), None)
    return answers.MassEventClient(
        client_id=client_id,
        state=None if client is None else client.state,
        reason=None if client is None else client.reason,
    )


def _text(event: MassEvent, counts: Counts, fleets: Sequence[Fleet]) -> str:
    parts = [f"{_what(event, fleets)} within {_length(event.last - event.first)}"]
    reason, number = max(event.reasons.items(), key=lambda item: item[1], default=("", 0))
    if reason and number >= _MAIN_SHARE * event.count:
        share = "" if number == event.count else f"{percent(number / event.count)} "
        parts.append(f"{share}{reason}")
    if (where := _where(event, counts, fleets)) is not None:
        parts.append(where)
    return ", ".join(parts)


def _what(event: MassEvent, fleets: Sequence[Fleet]) -> str:
    """Return what happened how often; some clients more than once if there are not so many."""
    is_once = event.count <= sum(len(fleet.presence.clients) for fleet in fleets)
    return f"{event.count:,} " + (
        f"clients {event.state}" if is_once else f"transitions to {event.state}"
    )


def _length(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"


def _where(event: MassEvent, counts: Counts, fleets: Sequence[Fleet]) -> str | None:
    """Return the group or type that most of the clients are in, if it is not most of the fleet."""
    known = sum(
        sum(fleet.thing_counts.states.values()) - fleet.thing_counts.states[State.UNKNOWN]
        for fleet in fleets
    )
    by_group = [fleet.thing_counts.groups for fleet in fleets]
    by_type = [fleet.thing_counts.types for fleet in fleets]
    found = [
        (number / event.count - _size(sizes, name) / max(1, known), number, name)
        for names, sizes in ((counts.thing_groups, by_group), (counts.thing_types, by_type))
        for name, number in names.items()
        if number >= _MAIN_SHARE * event.count
    ]
    excess, number, name = max(found, default=(0.0, 0, ""))
    return f"{percent(number / event.count)} in {name}" if excess >= _MIN_EXCESS else None


def _size(counts: Sequence[StateCounts], name: str) -> int:
    return sum(each.offline_of(name)[1] for each in counts)
