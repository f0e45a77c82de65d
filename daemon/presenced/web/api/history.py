"""The last events of clients and what each of them did, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice

import msgspec

from presenced.events import ConnectFailedEvent, LifecycleEvent, SubscriptionEvent
from presenced.pipeline import ClientEvent
from presenced.presence import Client, State, Transition
from presenced.presence.ordering import Ordering, PackedSession, pack

# Entries beyond the limit that may accumulate before the oldest are dropped together.
_SLACK = 8


class Effect(StrEnum):
    """What an event did to its client."""

    WENT_ONLINE = "went_online"
    WENT_OFFLINE = "went_offline"
    BEGAN_DELAY = "began_delay"
    """A disconnect that takes effect at the end of the offline delay."""
    FLAP_SUPPRESSED = "flap_suppressed"
    """A connect within the offline delay."""
    CONNECTION_REPLACED = "connection_replaced"
    """A connect while another connection was open."""
    NOTED = "noted"
    """An event that brought something new but left the state as it was."""
    DUPLICATE = "duplicate"
    STALE = "stale"
    """An event from before the last accepted one."""


# On the path of every event: a global name costs a fifth of what an enumeration's member does.
_ONLINE, _PENDING, _OFFLINE = State.ONLINE, State.PENDING, State.OFFLINE
_DUPLICATE, _STALE = Ordering.DUPLICATE, Ordering.STALE
_BEGAN_DELAY, _WENT_OFFLINE = Effect.BEGAN_DELAY, Effect.WENT_OFFLINE
_FLAP_SUPPRESSED, _WENT_ONLINE = Effect.FLAP_SUPPRESSED, Effect.WENT_ONLINE
_CONNECTION_REPLACED, _NOTED = Effect.CONNECTION_REPLACED, Effect.NOTED
_IGNORED = (Effect.DUPLICATE, Effect.STALE)


class LastAccepted(msgspec.Struct, frozen=True, gc=False):
    """The event with which an ignored one was compared; `timestamp` is in milliseconds."""

    type: str
    timestamp: int
    version: int | None
    session: PackedSession


class ReceivedEvent(msgspec.Struct, eq=False, gc=False):
    """An event, and the next older entry of its client.

    `received` is in epoch seconds. `timestamp` is the event time in milliseconds, None if the event
    has none. `against` is set for an ignored event.
    """

    received: float
    type: str
    effect: Effect
    timestamp: int | None = None
    version: int | None = None
    session: PackedSession = None
    reason: str | None = None
    against: LastAccepted | None = None
    earlier: Entry | None = None

    @property
    def lateness(self) -> float | None:
        """Seconds from its event time to its receipt; negative if the clocks disagree."""
        return None if self.timestamp is None else self.received - self.timestamp / 1000


class Confirmation(msgspec.Struct, eq=False, gc=False):
    """The client went offline at `time`, an offline delay after the disconnect at `since`."""

    time: float
    since: float
    reason: str | None
    earlier: Entry | None = None


Entry = ReceivedEvent | Confirmation


# A chain of entries: adding one touches no other. The garbage collector would traverse a list, with
# all that is in it, again and again.
class ClientHistory(msgspec.Struct, eq=False, gc=False):
    """The history of one client: a chain of entries, newest first.

    `decided` is the last accepted lifecycle event, None if it came before the history. `others` are
    the last events that are not entries, by type.
    """

    newest: Entry | None = None
    length: int = 0
    decided: ReceivedEvent | None = None
    others: dict[str, ReceivedEvent] = {}

    def add(self, entry: Entry, limit: int) -> None:
        """Add the newest entry; drop the oldest ones if there are many more than `limit`."""
        entry.earlier = self.newest
        self.newest = entry
        self.length += 1
        if self.length > limit + _SLACK:
            last = entry
            for _ in range(limit - 1):
                last = last.earlier or last
            last.earlier = None
            self.length = limit

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries, newest first."""
        entry = self.newest
        while entry is not None:
            yield entry
            entry = entry.earlier

    @property
    def last_by_type(self) -> dict[str, ReceivedEvent]:
        """The last event of each type."""
        last = dict(self.others)
        for entry in self.entries:
            if isinstance(entry, ReceivedEvent):
                last.setdefault(entry.type, entry)
        return last

    def decided_for(self, client: Client) -> ReceivedEvent | None:
        """Return the event that determined the state of the client; None if it is not remembered.

        It is not always the last accepted event: an ambiguous order may be resolved later.
        """
        decided = self.decided
        if decided is None or decided.version != client.version:
            return None
        return decided if decided.session == client.packed_session else None

    @property
    def ignored(self) -> list[ReceivedEvent]:
        """The events ignored since the last accepted one, oldest first."""
        ignored: list[ReceivedEvent] = []
        for entry in self.entries:
            if entry is self.decided:
                break
            if isinstance(entry, ReceivedEvent) and entry.effect in _IGNORED:
                ignored.append(entry)
        return ignored[::-1]


class History:
    """The last `per_client` entries of each of the `clients` clients that had an event last.

    `find` returns the client with an ID, None if it is not known.
    """

    def __init__(self, clients: int, per_client: int, find: Callable[[str], Client | None]) -> None:
        self.per_client = per_client
        self._max_clients = clients
        self._find = find
        self._clients: OrderedDict[str, ClientHistory] = OrderedDict()

    def get(self, client_id: str) -> ClientHistory | None:
        """Return the history of a client, None if nothing is remembered."""
        return self._clients.get(client_id)

    def entries(self, client_id: str) -> list[Entry]:
        """Return the last entries of a client, newest first."""
        history = self._clients.get(client_id)
        return list(islice(history.entries, self.per_client)) if history else []

    def record_event(
        self, event: ClientEvent, received: float, before: State, ordering: Ordering | None
    ) -> None:
        """Record an event after it was applied.

        `before` is the state that earlier events had given its client, unknown if there were none.
        `ordering` is its order relative to the last accepted event, None if it has no order.
        """
        client = self._find(event.client_id)
        if client is None:
            return
        history = self._clients.get(event.client_id)
        if history is None:
            history = self._clients[event.client_id] = ClientHistory()
            if len(self._clients) > self._max_clients:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(event.client_id)
        if not isinstance(event, LifecycleEvent) or ordering is None:
            self._record_other(history, event, received, before, client)
            return
        if ordering is _DUPLICATE or ordering is _STALE:
            effect = Effect.DUPLICATE if ordering is _DUPLICATE else Effect.STALE
            session, against = pack(event.session), _last_accepted(client)
        else:
            effect = _effect(event.type, received, before, client)
            session, against = client.packed_session, None
        entry = ReceivedEvent(
            received,
            event.type,
            effect,
            None if event.untimed else event.timestamp,
            event.version,
            session,
            event.reason,
            against,
        )
        if against is None:
            history.decided = entry
        history.add(entry, self.per_client)

    def _record_other(
        self,
        history: ClientHistory,
        event: ClientEvent,
        received: float,
        before: State,
        client: Client,
    ) -> None:
        """Record an event that has no order relative to lifecycle events."""
        refusal = event if isinstance(event, ConnectFailedEvent) else None
        entry = ReceivedEvent(
            received,
            event.type,
            _WENT_ONLINE if _went_online(client, before, received) else _NOTED,
            event.timestamp,
            session=pack(event.session) if isinstance(event, SubscriptionEvent) else None,
            reason=refusal.reason if refusal else None,
        )
        # Several subscriptions follow each connect, and would displace all other entries.
        if refusal or entry.effect is not _NOTED:
            history.add(entry, self.per_client)
        else:
            history.others[entry.type] = entry

    def record_transition(self, client: Client, transition: Transition) -> None:
        """Record an offline transition that took effect after a delay, not with an event."""
        if transition.state is _OFFLINE and transition.time != transition.since:
            history = self._clients.get(client.client_id)
            if history is not None:
                entry = Confirmation(transition.time, transition.since, transition.reason)
                history.add(entry, self.per_client)

    def forget(self, client: Client) -> None:
        """Delete the history of a client."""
        self._clients.pop(client.client_id, None)


def _effect(event_type: str, received: float, before: State, client: Client) -> Effect:
    """Return the effect of an accepted lifecycle event."""
    after = client.state
    if after is before:
        is_replaced = after is _ONLINE and event_type == "connected"
        return _CONNECTION_REPLACED if is_replaced else _NOTED
    if after is _PENDING:
        return _BEGAN_DELAY
    if after is _OFFLINE:
        return _WENT_OFFLINE
    if before is _PENDING:
        return _FLAP_SUPPRESSED
    return _WENT_ONLINE if _went_online(client, before, received) else _NOTED


def _went_online(client: Client, before: State, received: float) -> bool:
    """Return whether an event took a client online that was not assumed online before."""
    return client.state is _ONLINE and before is not client.state and client.since == received


def _last_accepted(client: Client) -> LastAccepted:
    event_type = "connected" if client.connected else "disconnected"
    return LastAccepted(event_type, client.timestamp, client.version, client.packed_session)
