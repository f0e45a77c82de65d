"""The answers of the API: one struct each, from which the OpenAPI components are generated.

The name of a struct is the name of its component. A member that may be null is always present; only
`Problem` omits members that do not apply.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from presenced.presence import Effect, RecordEffect, State
from presenced.presence.client import StateSource
from presenced.sources.gaps import GapReason
from presenced.web.api.doubt import DoubtCause


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
AnyType = _one_of(
    "connected",
    "disconnected",
    "connect_failed",
    "subscribed",
    "unsubscribed",
    "online",
    "offline",
)


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
    source: Annotated[
        StateSource | None,
        _doc(
            "What decides its state: lifecycle events, AWS's record, status messages, or a"
            " subscription; null for an unknown client."
        ),
    ]
    version: Version
    session: Session
    verified: Annotated[bool, _doc("False if newer events about it may have been lost.")]
    thing: Annotated[
        str | None,
        _doc("Its thing; null if neither the registry nor a pattern nor an event names one."),
    ]
    thing_state: Annotated[
        State | None, _doc("The presence of its thing, which may have other clients, too.")
    ]
    thing_type: str | None
    thing_groups: Annotated[list[str], _doc("The groups that its thing is a direct member of.")]
    classes: Annotated[dict[str, str], _doc("The named groups of metrics.client_id_pattern.")]


class Partitions(Answer):
    """The partitions of Kafka whose clients a worker shows. Other workers have the other ones."""

    owned: Annotated[list[Count], _doc("Their numbers; empty if it has none, or shows none.")]
    of: Annotated[
        Count | None,
        _doc("The number of partitions of the fleet; null before it has had any of them."),
    ]
    shown: Annotated[
        bool,
        _doc(
            "False while Kafka has not confirmed for kafka.lease that the worker still has its"
            " partitions. It shows no client then, because other workers may have them."
        ),
    ]


_Partitions = Annotated[
    Partitions | None,
    _doc("The partitions that this is about; null if the events do not come from Kafka."),
]


class Clients(Answer):
    """A page of clients."""

    clients: Annotated[
        list[Client],
        _doc(
            "In the requested order. With `contains` or `offline_for` a page may have fewer than"
            " `limit`, or none, before the last one."
        ),
    ]
    next_cursor: Annotated[str | None, _doc("The cursor of the next page; null on the last one.")]
    partitions: _Partitions


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
    since: Annotated[
        Timestamp,
        _doc(
            "The receipt of the disconnect event; its event time if it came late. AWS's time if"
            " only AWS's record has the disconnect."
        ),
    ]
    reason: Reason


class RecordAnswer(Answer, tag_field="kind", tag="record"):
    """What AWS's record of who is connected did to a client, or that it could not be asked."""

    at: Annotated[Timestamp, _doc("When AWS was asked.")]
    effect: RecordEffect
    operation: Annotated[str | None, _doc("The operation of AWS that answered; null without one.")]
    connected: Annotated[bool | None, _doc("What AWS answered; null without an answer.")]
    record_time: Annotated[Timestamp | None, _doc("Since when, by AWS's record.")]


class History(Answer):
    """The remembered events of a client."""

    client_id: str
    entries: Annotated[list[HistoryEvent | Confirmation | RecordAnswer], _doc("Newest first.")]
    kept_per_client: Annotated[Count, _doc("The maximum number of entries.")]


class Deadline(Answer):
    """The next change of a client that needs no event."""

    then: Annotated[str, _one_of("offline", "forgotten")]
    at: Timestamp | None
    held: Annotated[bool, _doc("True while it waits for the backlog of events to be applied.")]


class Gap(Answer):
    """Why the state of a client is in doubt."""

    cause: Annotated[DoubtCause, _doc("A gap; a lookup that failed; a first sign of the client.")]
    since: Annotated[Timestamp | None, _doc("When the gap was; null without one.")]
    reason: Annotated[GapReason | None, _doc("Of the gap; null if it was before the start.")]
    connection: Annotated[
        str | None, _doc("What had the gap: an MQTT connection, by client ID, or a partition.")
    ]


class Story(Client):
    """Everything about a client."""

    partition: Annotated[
        Count | None,
        _doc("The partition that has its events; null if they do not come from Kafka."),
    ]

    explanation: Annotated[str, _doc("Why it is in its state, as English sentences.")]
    decided_by: Annotated[Event | None, _doc("The lifecycle event that determined its state.")]
    ignored: Annotated[list[Event], _doc("The events ignored since that one, oldest first.")]
    last_events: Annotated[dict[str, Event], _doc("The last event of each type.")]
    deadline: Annotated[Deadline | None, _doc("Null if it has none.")]
    unverified: Annotated[Gap | None, _doc("Null if the client is verified.")]
    record_time: Annotated[
        Timestamp | None,
        _doc("When it changed by AWS's record; null if the state follows from an event."),
    ]
    awaits_lookup: Annotated[
        bool, _doc("True while it stays pending until AWS tells whether it is connected.")
    ]
    troubles: Annotated[
        list[str],
        _doc(
            "What is wrong with it, in words: two devices that may use its ID (20 takeovers in the"
            " last hour), refused connects (6)."
        ),
    ]
    flapping_until: Annotated[
        Timestamp | None,
        _doc(
            "Until when it is held as flapping (presence.damping) if it does not flap again; null"
            " if it is not held. Its presence is not affected."
        ),
    ]
    awaited_disconnects: Annotated[Count, _doc("Replaced connections without a disconnect yet.")]
    attributes: Annotated[dict[str, str], _doc("Those that metrics.thing_attributes names.")]


class InDoubt(Answer):
    """The clients whose state is in doubt: newer events may have been lost, or a lookup failed."""

    clients: Annotated[dict[str, Count], _doc("The number of these clients by state.")]
    since: Annotated[
        Timestamp | None,
        _doc("The time of the last gap; null if there was none, or no client is unverified."),
    ]


class FailedRequests(Answer):
    """Requests to AWS that failed."""

    operation: str
    result: Annotated[str, _one_of("throttled", "denied", "failed")]
    count: Annotated[Count, _doc("Attempts since the start.")]


class Snapshot(Answer):
    """A complete reading of AWS's record."""

    at: Annotated[Timestamp, _doc("When it was complete.")]
    seconds: Annotated[float, _doc("How long it took.")]
    things: Annotated[Count, _doc("The number of things in it.")]


class Aws(Answer):
    """Requests to AWS for its record of who is connected."""

    problems: Annotated[list[str], _doc("What fails at present, with the remedy.")]
    failed_requests: list[FailedRequests]
    last_snapshot: Annotated[Snapshot | None, _doc("Null before the first one since the start.")]
    adopted: Annotated[Count, _doc("Clients first known by AWS's record.")]
    corrections: Annotated[dict[str, Count], _doc("Corrected clients by the right state.")]
    offlines_prevented: Annotated[Count, _doc("Lookups that found a client connected.")]


class Summary(Answer):
    """The fleet in numbers. Totals count from the creation of the state file, or from the start."""

    version: Annotated[str, _doc("The version of presenced.")]
    time: Timestamp
    ready: Annotated[bool, _doc("True if events are received and none that had waited is left.")]
    readiness: Annotated[str, _doc("The same in words, with the cause if not ready.")]
    partitions: _Partitions
    clients: Annotated[dict[str, Count], _doc("The number of clients by state.")]
    unverified: Annotated[
        Count, _doc("The number of online and pending clients with events that may be lost.")
    ]
    in_doubt: InDoubt
    aws: Annotated[Aws | None, _doc("Null if AWS is not asked (reconcile.enabled).")]
    transitions: Annotated[dict[str, Count], _doc("Transitions by their new state.")]
    flaps_suppressed: Annotated[Count, _doc("Interruptions shorter than the offline delay.")]
    disconnects: Annotated[dict[str, Count], _doc("Disconnects by reason.")]
    things_by_presence: Annotated[
        dict[str, Count],
        _doc("Things that have clients, by state; a thing is online if any of its clients is."),
    ]
    things: Count
    thing_types: Count
    thing_groups: Count


class FlappingClient(Answer):
    """A client whose connections end or are refused often."""

    client_id: str
    flaps: Annotated[Count, _doc("Connections that ended, but not by a takeover.")]
    takeovers: Annotated[
        Count, _doc("Connections that another one with the same client ID took over.")
    ]
    short_sessions: Annotated[
        Count, _doc("Connections of both kinds that lasted less than a minute by event time.")
    ]
    refused: Annotated[Count, _doc("Connects that the broker refused.")]
    state: Annotated[
        State | None, _doc("Null if nothing but refused connects of it has been received.")
    ]
    held: Annotated[bool, _doc("True while it is held as flapping (presence.damping).")]


class Flapping(Answer):
    """The clients whose connections ended or were refused most often within the last hour."""

    clients: Annotated[
        list[FlappingClient],
        _doc(
            "At most 50 with the most flaps and takeovers, and at most 50 with the most refused"
            " connects, each with at least 3; those with the highest sum first."
        ),
    ]
    window_seconds: Annotated[
        Count,
        _doc("The window. It moves on every ten minutes, and is up to ten minutes shorter then."),
    ]


class Transition(Answer):
    """A client went online or offline."""

    client_id: str
    state: Annotated[State, _one_of(State.ONLINE, State.OFFLINE)]
    previous: State
    since: Annotated[
        Timestamp,
        _doc(
            "The receipt of the event that led to it; its event time if that came late"
            " (presence.timestamp_accuracy). AWS's time if AWS's record led to it."
        ),
    ]
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


ANSWERS: tuple[type[msgspec.Struct], ...] = (
    Clients,
    Story,
    History,
    Summary,
    Flapping,
    Transition,
    Problem,
)
"""The structs that become components, together with those that they refer to."""
