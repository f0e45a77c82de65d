"""The answers of the API: one struct each, from which the OpenAPI components are generated.

The name of a struct is the name of its component. A member that may be null is always present; only
`Problem` omits members that do not apply.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from presenced.presence import Effect, State
from presenced.sources.connection_gap import GapReason


def _doc(description: str) -> Meta:
    return Meta(description=description)


def _one_of(*values: str) -> Meta:
    return Meta(extra_json_schema={"enum": values})


Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
Version = Annotated[Count | None, _doc("The version number of the connection.")]
Session = Annotated[str | None, _doc("The session identifier of the connection.")]
Reason = Annotated[str | None, _doc("The reason given in the disconnect event.")]
EventTime = Annotated[Timestamp | None, _doc("The timestamp in the event, which is approximate.")]
Lifecycle = _one_of("connected", "disconnected")
AnyType = _one_of("connected", "disconnected", "connect_failed", "subscribed", "unsubscribed")


# Forbidding unknown fields makes the components declare `additionalProperties: false`.
class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """An object with exactly the declared members."""


class Client(Answer):
    """A client."""

    client_id: str
    state: State
    since: Annotated[Timestamp | None, _doc("When the state began; null for an unknown client.")]
    last_transition: Annotated[Timestamp | None, _doc("When it last went online or offline.")]
    reason: Reason
    version: Version
    session: Session
    verified: Annotated[bool, _doc("False if newer events about it may have been lost.")]
    thing: Annotated[str | None, _doc("The name of its thing in the registry.")]
    thing_type: str | None
    thing_groups: Annotated[list[str], _doc("The groups that its thing is a direct member of.")]
    classes: Annotated[dict[str, str], _doc("The named groups of metrics.client_id_pattern.")]


class Clients(Answer):
    """A page of clients."""

    clients: Annotated[list[Client], _doc("In the requested order.")]
    next_cursor: Annotated[str | None, _doc("The cursor of the next page; null on the last one.")]


class Rival(Answer):
    """The event that an ignored event was compared with."""

    type: Annotated[str, Lifecycle]
    event_time: EventTime
    version: Version
    session: Session


class Event(Answer):
    """An event about a client."""

    type: Annotated[str, AnyType]
    received_at: Annotated[Timestamp | None, _doc("Null for an event older than the history.")]
    event_time: EventTime
    late_seconds: Annotated[float | None, _doc("The seconds from its event time to its receipt.")]
    version: Version
    session: Session
    reason: Reason
    effect: Annotated[Effect | None, _doc("Its effect; null for an event older than the history.")]
    against: Annotated[Rival | None, _doc("What an ignored event was compared with.")]


class HistoryEvent(Event, tag_field="kind", tag="event"):
    """An event in the history of a client."""


class Confirmation(Answer, tag_field="kind", tag="confirmed_offline"):
    """The offline delay ended and the client went offline."""

    at: Timestamp
    since: Annotated[Timestamp, _doc("When its disconnect event was received.")]
    reason: Reason


class History(Answer):
    """The remembered events of a client."""

    client_id: str
    entries: Annotated[list[HistoryEvent | Confirmation], _doc("Newest first.")]
    kept_per_client: Annotated[Count, _doc("The maximum number of entries.")]


class Deadline(Answer):
    """The next change of a client that needs no event."""

    then: Annotated[str, _one_of("offline", "forgotten")]
    at: Timestamp | None
    held: Annotated[bool, _doc("True while it waits for the message backlog to be received.")]


class Gap(Answer):
    """The gap in which events of a client may have been lost."""

    since: Timestamp | None
    reason: Annotated[GapReason | None, _doc("Null if the gap was before presenced was started.")]
    connection: str | None


class Story(Client):
    """Everything about a client."""

    explanation: Annotated[str, _doc("Why it is in its state, as English sentences.")]
    decided_by: Annotated[Event | None, _doc("The lifecycle event that determined its state.")]
    ignored: Annotated[list[Event], _doc("The events ignored since that one, oldest first.")]
    last_events: Annotated[dict[str, Event], _doc("The last event of each type.")]
    deadline: Annotated[Deadline | None, _doc("Null if it has none.")]
    unverified: Annotated[Gap | None, _doc("Null if the client is verified.")]
    awaited_disconnects: Annotated[Count, _doc("Replaced connections without a disconnect yet.")]
    attributes: Annotated[dict[str, str], _doc("Those that metrics.thing_attributes names.")]


class Summary(Answer):
    """The fleet in numbers. Totals count from the creation of the state file, or from the start."""

    version: Annotated[str, _doc("The version of presenced.")]
    time: Timestamp
    ready: Annotated[bool, _doc("True if every connection is up and every filter is granted.")]
    readiness: Annotated[str, _doc("The same in words, with the cause if not ready.")]
    clients: Annotated[dict[str, Count], _doc("The number of clients by state.")]
    unverified: Annotated[
        Count, _doc("The number of online and pending clients with events that may be lost.")
    ]
    transitions: Annotated[dict[str, Count], _doc("Transitions by their new state.")]
    flaps_suppressed: Annotated[Count, _doc("Interruptions shorter than the offline delay.")]
    disconnects: Annotated[dict[str, Count], _doc("Disconnects by reason.")]
    things: Count
    thing_types: Count
    thing_groups: Count


class Transition(Answer):
    """A client went online or offline."""

    client_id: str
    state: Annotated[State, _one_of(State.ONLINE, State.OFFLINE)]
    previous: State
    since: Annotated[Timestamp, _doc("When the event that led to it was received.")]
    confirmed_at: Annotated[
        Timestamp, _doc("When it took effect, possibly after the offline delay.")
    ]
    reason: Reason


class Problem(msgspec.Struct):
    """What is wrong with a request (RFC 9457)."""

    title: str
    status: int
    detail: Annotated[str, _doc("What is wrong, and what to do about it.")]
    parameter: Annotated[str | UnsetType, _doc("The wrong parameter.")] = UNSET
    value: Annotated[str | UnsetType, _doc("Its value, or the beginning of it.")] = UNSET
    allowed: Annotated[str | list[str] | UnsetType, _doc("The allowed values.")] = UNSET


ANSWERS: tuple[type[msgspec.Struct], ...] = (Clients, Story, History, Summary, Transition, Problem)
"""The structs that become components, together with those that they refer to."""
