"""Build the answers of the API from the state of the daemon.

Principals and IP addresses cannot appear in an answer, because they are not decoded.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from presenced import __version__
from presenced.aws.reconciler import Reconciler
from presenced.aws.snapshot_driver import SnapshotDriver
from presenced.fleet import Fleet, Partition
from presenced.presence import Client, PresenceCounts, State, Transition
from presenced.presence.client import EventStamp, unpack
from presenced.system.supervision import Readiness
from presenced.system.timestamps import format_utc
from presenced.web.api import answers
from presenced.web.api.doubt import Doubt
from presenced.web.api.explanation import LATEST_TIME, ClientDetails, explain
from presenced.web.api.history import (
    ClientHistory,
    Confirmation,
    Entry,
    ReceivedEvent,
    RecordEntry,
)

_CONNECTEDNESS = (State.ONLINE, State.OFFLINE)


def _timestamp(seconds: float | None) -> str | None:
    """Format epoch seconds as RFC 3339; None after the year 9999."""
    return None if seconds is None or seconds > LATEST_TIME else format_utc(seconds)


def _event_time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else _timestamp(milliseconds / 1000)


class ClientAnswers:
    """Builds the answers about clients.

    `pattern` is metrics.client_id_pattern; `attributes` is metrics.thing_attributes.
    """

    def __init__(self, pattern: re.Pattern[str] | None, attributes: Sequence[str]) -> None:
        self._pattern = pattern
        self._attributes = attributes

    def client(self, fleet: Fleet, client: Client) -> answers.Client:
        """Return a client of a fleet as an element of a list."""
        thing = fleet.inventory.things.live.get(client.thing)
        match = self._pattern.search(client.client_id) if self._pattern else None
        return answers.Client(
            client_id=client.client_id,
            state=client.state,
            since=_timestamp(client.since),
            last_transition=_timestamp(client.transition),
            reason=client.reason,
            source=client.source,
            version=client.version,
            session=client.session,
            verified=not fleet.presence.is_unverified(client),
            thing=fleet.thing_of(client),
            thing_state=fleet.thing_state(client),
            thing_type=(thing.type or None) if thing else None,
            thing_groups=sorted(thing.groups) if thing else [],
            classes=match.groupdict("") if match else {},
        )

    def story(
        self, fleet: Fleet, details: ClientDetails, partition: Partition | None
    ) -> answers.Story:
        """Return everything about a client of a fleet, whose events are in a partition."""
        client, history, doubt = details.client, details.history, details.doubt
        attributes = fleet.describe(client).attributes
        return answers.Story(
            **msgspec.structs.asdict(self.client(fleet, client)),
            partition=partition.number if partition else None,
            explanation=explain(details),
            decided_by=_decided_by(client, history),
            ignored=[_event(event) for event in history.ignored],
            last_events={kind: _event(event) for kind, event in history.last_by_type.items()},
            deadline=_deadline(details),
            unverified=_gap(doubt) if doubt else None,
            record_time=_event_time(client.timestamp) if client.adopted else None,
            awaits_lookup=details.awaits_lookup,
            troubles=[trouble.text for trouble in details.troubles],
            flapping_until=_timestamp(details.held_until),
            awaited_disconnects=len(client.replaced or ()),
            attributes={
                name: attributes[name] or "" for name in self._attributes if name in attributes
            },
        )


def history_answer(client_id: str, entries: Sequence[Entry], limit: int) -> answers.History:
    """Return the history of a client."""
    return answers.History(
        client_id=client_id, entries=[_entry(entry) for entry in entries], kept_per_client=limit
    )


def transition_answer(transition: Transition) -> answers.Transition:
    """Return a transition."""
    return answers.Transition(
        client_id=transition.client_id,
        state=transition.state,
        previous=transition.previous,
        since=format_utc(transition.since),
        confirmed_at=format_utc(transition.time),
        reason=transition.reason,
    )


def summary_answer(
    fleets: Sequence[Fleet],
    partitions: answers.Partitions | None,
    reconciler: Reconciler | None,
    readiness: Readiness,
    now: float,
) -> answers.Summary:
    """Return the fleet in numbers, which are those of the metrics, added up over its parts."""
    counts = [fleet.presence.counts for fleet in fleets]
    inventories = [fleet.inventory for fleet in fleets]
    disconnects: Counter[str] = Counter()
    for each in counts:
        for (reason, _), count in each.disconnects.items():
            disconnects[reason] += count
    return answers.Summary(
        version=__version__,
        time=format_utc(now),
        ready=readiness.ready,
        readiness=readiness.text,
        partitions=partitions,
        clients=_by_state(State, (each.clients for each in counts)),
        unverified=sum(each.unverified_connected for each in counts),
        in_doubt=_in_doubt(fleets),
        aws=_aws(reconciler, counts) if reconciler else None,
        transitions=_by_state(_CONNECTEDNESS, (each.transitions for each in counts)),
        flaps_suppressed=sum(each.flaps_suppressed for each in counts),
        disconnects=disconnects,
        things_by_presence=_by_state(State, (fleet.thing_counts.states for fleet in fleets)),
        things=sum(len(each.things.live) for each in inventories),
        # Every partition has all types and groups.
        thing_types=max((len(each.types.live) for each in inventories), default=0),
        thing_groups=max((len(each.groups.live) for each in inventories), default=0),
    )


def _by_state(states: Iterable[State], parts: Iterable[Mapping[State, int]]) -> dict[str, int]:
    totals = dict.fromkeys((state.value for state in states), 0)
    for numbers in parts:
        for state in totals:
            totals[state] += numbers[State(state)]
    return totals


def _in_doubt(fleets: Sequence[Fleet]) -> answers.InDoubt:
    presences = [fleet.presence for fleet in fleets]
    states = (State.ONLINE, State.PENDING, State.OFFLINE)
    since = max(
        (
            presence.last_gap_at
            for presence in presences
            if any(presence.counts.unverified[state] for state in states)
        ),
        default=0.0,
    )
    return answers.InDoubt(
        clients=_by_state(states, (presence.counts.unverified for presence in presences)),
        since=_timestamp(since or None),
    )


def _aws(reconciler: Reconciler, counts: Sequence[PresenceCounts]) -> answers.Aws:
    corrections = dict.fromkeys((state.value for state in _CONNECTEDNESS), 0)
    for each in counts:
        for (state, _), count in each.corrections.items():
            corrections[state.value] += count
    return answers.Aws(
        problems=reconciler.problems,
        failed_requests=[
            answers.FailedRequests(operation=operation, result=result, count=count)
            for (operation, result), count in reconciler.counts.requests.items()
            if count and result != "ok"
        ],
        last_snapshot=_snapshot(reconciler.snapshots),
        adopted=sum(sum(each.adopted.values()) for each in counts),
        corrections=corrections,
        offlines_prevented=sum(each.offline_prevented for each in counts),
    )


def _snapshot(last: SnapshotDriver | None) -> answers.Snapshot | None:
    if last is None or last.completed_at is None or last.duration is None or last.things is None:
        return None
    return answers.Snapshot(
        at=format_utc(last.completed_at), seconds=round(last.duration, 3), things=last.things
    )


def _gap(doubt: Doubt) -> answers.Gap:
    gap = doubt.gap
    return answers.Gap(
        cause=doubt.cause,
        since=_timestamp(gap.at) if gap else None,
        reason=gap.reason if gap else None,
        connection=gap.connection if gap else None,
    )


def _entry(
    entry: Entry,
) -> answers.HistoryEvent | answers.Confirmation | answers.RecordAnswer:
    if isinstance(entry, RecordEntry):
        has_answer = entry.operation is not None
        return answers.RecordAnswer(
            at=format_utc(entry.time),
            effect=entry.effect,
            operation=entry.operation,
            connected=entry.connected if has_answer else None,
            record_time=_event_time(entry.timestamp) if has_answer else None,
        )
    if isinstance(entry, Confirmation):
        return answers.Confirmation(
            at=format_utc(entry.time), since=format_utc(entry.since), reason=entry.reason
        )
    return answers.HistoryEvent(**msgspec.structs.asdict(_event(entry)))


def _event(event: ReceivedEvent) -> answers.Event:
    lateness = event.lateness
    return answers.Event(
        type=event.type,
        received_at=_timestamp(event.received),
        event_time=_event_time(event.timestamp),
        late_seconds=None if lateness is None else round(lateness, 3),
        version=event.version,
        session=unpack(event.session),
        reason=event.reason,
        effect=event.effect,
        against=_rival(event.against) if event.against else None,
    )


def _rival(event: EventStamp) -> answers.Rival:
    return answers.Rival(
        type="connected" if event.connected else "disconnected",
        event_time=_event_time(event.timestamp),
        version=event.version,
        session=event.session,
    )


def _decided_by(client: Client, history: ClientHistory) -> answers.Event | None:
    """Return the event that determined the state; from the state if it is not in the history."""
    if not client.has_event or client.adopted:
        return None
    decided = history.decided_for(client)
    if decided is not None:
        return _event(decided)
    return answers.Event(
        **msgspec.structs.asdict(_rival(client.stamp)),
        received_at=None,
        late_seconds=None,
        reason=client.reason,
        effect=None,
        against=None,
    )


def _deadline(details: ClientDetails) -> answers.Deadline | None:
    if details.deadline is None:
        return None
    then = "forgotten" if details.client.state is State.OFFLINE else "offline"
    return answers.Deadline(then=then, at=_timestamp(details.deadline), held=details.held)
