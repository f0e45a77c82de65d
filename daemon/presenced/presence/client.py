"""What is kept about one client, and the record of what happened to it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from presenced.events.model import (
    ConnectFailedEvent,
    LifecycleEvent,
    StatusEvent,
    SubscriptionEvent,
)
from presenced.presence.client_rules import ClientRule

ClientEvent = LifecycleEvent | ConnectFailedEvent | SubscriptionEvent | StatusEvent
"""The events of one client."""

StateSource = Literal["lifecycle", "record", "status", "subscription"]
"""What decides the state of a client: lifecycle events, AWS's record, status messages, or a
subscription of a client without any of these."""

ForgetReason = Literal["expired", "thing_deleted", "requested"]

PackedSession = int | str | None
"""A session identifier as it is stored: an AWS IoT Core UUID as a number takes half the memory."""

_NO_EVENT = -1

# In lower-case digits and dashes (RFC 9562 section 4); any other form is kept as text.
_as_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def pack(session: str | None) -> PackedSession:
    """Return a session identifier as a number if it is a UUID as AWS writes it."""
    if session is None or _as_uuid(session) is None:
        return session
    return int(session.replace("-", ""), 16)


def unpack(packed: PackedSession) -> str | None:
    """Return the session identifier that `pack` was given."""
    if not isinstance(packed, int):
        return packed
    # In groups of four digits, of which the first two and the last three belong together.
    digits = packed.to_bytes(16, "big").hex("-", 2)
    return f"{digits[:4]}{digits[5:29]}{digits[30:34]}{digits[35:]}"


class State(StrEnum):
    """The presence of a client.

    What runs for each event binds the members to globals, which takes a fifth of the time of an
    attribute of an enumeration.
    """

    ONLINE = "online"
    PENDING = "pending"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class EventStamp(NamedTuple):
    """What ordering reads of an event; equal stamps are one message delivered twice."""

    connected: bool
    timestamp: int
    version: int | None
    session: str | None


class ReplacedConnection(msgspec.Struct, gc=False, eq=False):
    """A connection that another one replaced before its disconnect arrived.

    `connect` is the stamp of its connect; versions alone repeat after a reset.
    """

    client: Client
    connect: EventStamp
    deadline: float | None = None


class AmbiguousOrder(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of events whose order neither versions nor event times prove.

    `seen` are the messages received, `newest` the latest event time among the accepted ones in
    milliseconds, `rejected` the disconnects that lost a comparison that may be the wrong way round.
    """

    seen: list[EventStamp]
    newest: int
    rejected: list[EventStamp]


# A fleet of a million has a million of these: a struct that the garbage collector does not follow
# takes less memory than a class with slots and no time of a collection (`benchmarks/restart.py`).
# The cycles through `replaced` are broken when the client is dropped.
class Client(msgspec.Struct, gc=False, eq=False):
    """One client: its presence and its last accepted lifecycle event.

    `timestamp` (milliseconds), `version` and `session` are those of the event. `since` is when the
    present state began, in seconds since the epoch: for a pending client when it disconnected, for
    an online one the time of its last transition. `transition` is the time of the last transition,
    None before the first: a client that was offline when it was first known has had none.
    `deadline` is the monotonic time at which a pending client goes offline, `offline_at` the one at
    which an offline client did. `thing_name` is the thing that its events name, None if that is the
    one of its client ID or if they name none. `matched_thing` is the one that `thing_pattern` finds
    in the client ID, None if it does not match or the client is unknown. `gap_epoch` is how many
    gaps in the received events there had been when the client was last verified.
    `adopted` if its state and `timestamp` are those of AWS's record, which has neither version nor
    session. `replaced` are the connections whose disconnect is awaited, and `ambiguous` the events
    whose order is not certain; None if there are none, as for nearly all clients. `rule` is what is
    different for the client by its ID. `status_at` is the monotonic time at which its last status
    message was received; None after the first lifecycle event.
    """

    client_id: str
    state: State = State.UNKNOWN
    since: float | None = None
    transition: float | None = None
    reason: str | None = None
    thing_name: str | None = None
    timestamp: int = _NO_EVENT
    version: int | None = None
    packed_session: PackedSession = None
    deadline: float | None = None
    offline_at: float | None = None
    gap_epoch: int = 0
    adopted: bool = False
    replaced: dict[EventStamp, ReplacedConnection] | None = None
    ambiguous: AmbiguousOrder | None = None
    matched_thing: str | None = None
    rule: ClientRule | None = None
    status_at: float | None = None

    @property
    def connected(self) -> bool:
        """Whether its last accepted event was a connect."""
        return self.state is State.ONLINE and self.has_event

    @property
    def has_event(self) -> bool:
        """Whether a lifecycle event of it has been accepted.

        Without one it is unknown, or supposed to be online because of some other event.
        """
        return self.timestamp != _NO_EVENT

    @property
    def source(self) -> StateSource | None:
        """What decides its state; None if it is unknown."""
        if self.has_event:
            return "record" if self.adopted else "lifecycle"
        if self.state is State.UNKNOWN:
            return None
        return "subscription" if self.status_at is None else "status"

    @property
    def has_record_only(self) -> bool:
        """Whether it was offline when first known, and no event came since.

        That is by AWS's record, or by a retained status message.
        """
        return self.transition is None and (self.adopted or self.status_at is not None)

    @property
    def session(self) -> str | None:
        """The session identifier."""
        return unpack(self.packed_session)

    @property
    def stamp(self) -> EventStamp:
        """What ordering reads of its last accepted event."""
        return EventStamp(self.connected, self.timestamp, self.version, self.session)

    @property
    def thing(self) -> str:
        """The name of the thing that it belongs to, if there is one of that name."""
        return self.thing_name or self.matched_thing or self.client_id

    @property
    def names_thing(self) -> bool:
        """Whether its events or `thing_pattern` name its thing."""
        return self.thing_name is not None or self.matched_thing is not None


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A client went online or offline.

    `since` is the received time of the event that led to it, or its event time if it came late;
    `time` is the moment at which the transition was confirmed. Both are in seconds since the epoch.
    """

    time: float
    since: float
    client_id: str
    previous: State
    state: State
    reason: str | None


class Effect(StrEnum):
    """What an event of a client did."""

    WENT_ONLINE = "went_online"
    WENT_OFFLINE = "went_offline"
    BEGAN_DELAY = "began_delay"
    """A disconnect that must stand for the offline delay."""
    FLAP_SUPPRESSED = "flap_suppressed"
    """A connect within the offline delay."""
    CONNECTION_REPLACED = "connection_replaced"
    """A connect while another connection was open."""
    NOTED = "noted"
    """Something new, but the state stayed."""
    DUPLICATE = "duplicate"
    STALE = "stale"
    """It happened before the event that decided."""

    @property
    def is_ignored(self) -> bool:
        """Whether the event was ignored because it is not later than the last accepted one."""
        return self is Effect.DUPLICATE or self is Effect.STALE


class RecordEffect(StrEnum):
    """What AWS's record, or its absence, did to a client."""

    ADOPTED = "adopted"
    """A client without events got the state of the record."""
    CORRECTED = "corrected"
    """The record contradicted the events and was right."""
    OFFLINE_PREVENTED = "offline_prevented"
    """A lookup found a client connected whose offline delay was over."""
    OFFLINE_CONFIRMED = "offline_confirmed"
    """A lookup found it disconnected."""
    ASKED = "asked"
    """The offline delay is over, and the answer to a lookup is awaited."""
    UNANSWERED = "unanswered"
    """The lookup that was due could not be made, or its answer did not come in time."""


class EndedConnection(msgspec.Struct, frozen=True, gc=False):
    """The end of a connection, which counts once however often its disconnect is delivered.

    `at` is when it ended, in seconds since the epoch, by the rule for `Client.since`. `taken_over`
    if another connection with the same client ID replaced it. `seconds` is how long it lasted by
    event times, None if its connect is not known.
    """

    at: float
    taken_over: bool = False
    seconds: float | None = None


class ClientChange(msgspec.Struct, gc=False):
    """What one event, deadline or request did to one client.

    `before` and `after` are its states: None before for a client that was not known, None after
    for one that is forgotten. `event`, `received` (seconds since the epoch), `session` and `effect`
    are set for events; `against` is the stamp that an ignored event was compared with.
    `transition` is set if the client went online or offline. `described` means that the registry
    may say something else about the client. `changed` is False if nothing kept about the client
    changed, so that its row in the state file stays the same. `adopted` if a client without events
    got the state of AWS's record, which is no transition. `record` is what the record did at
    `received`, and `operation` the one of AWS that answered, if any. `dropped` is the client ID
    whose ordering record made room for this one's. `ended` is the connection that ended, whether
    or not the state changed.
    """

    client: Client
    before: State | None
    after: State | None
    transition: Transition | None = None
    event: ClientEvent | None = None
    effect: Effect | None = None
    received: float = 0.0
    session: PackedSession = None
    against: EventStamp | None = None
    described: bool = False
    changed: bool = True
    adopted: bool = False
    record: RecordEffect | None = None
    operation: str | None = None
    dropped: str | None = None
    ended: EndedConnection | None = None
