"""The last events of clients and their effects, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from presenced.events.model import (
    ConnectFailedEvent,
    LifecycleEvent,
    StatusEvent,
    SubscriptionEvent,
)
from presenced.presence import (
    Client,
    ClientChange,
    ClientEvent,
    Effect,
    RecordEffect,
    State,
    Transition,
)
from presenced.presence.client import EventStamp, PackedSession

# Entries beyond the limit that may accumulate before the oldest are dropped together.
_SLACK = 8
_OFFLINE = State.OFFLINE


class ReceivedEvent(msgspec.Struct, eq=False, gc=False):
    """An event, and the next older entry of its client.

    `received` is in epoch seconds. `timestamp` is the event time in milliseconds, None if the event
    has none. `against` is the last accepted event with which an ignored one was compared.
    """

    received: float
    type: str
    effect: Effect
    timestamp: int | None = None
    version: int | None = None
    session: PackedSession = None
    reason: str | None = None
    against: EventStamp | None = None
    earlier: Entry | None = None

    @property
    def lateness(self) -> float | None:
        """Seconds from its event time to its receipt; negative if the clocks disagree."""
        return None if self.timestamp is None else self.received - self.timestamp / 1000


class Confirmation(msgspec.Struct, eq=False, gc=False):
    """The client went offline at `time`, an offline delay after its disconnect at `since`."""

    time: float
    since: float
    reason: str | None
    earlier: Entry | None = None


class RecordEntry(msgspec.Struct, eq=False, gc=False):
    """What AWS's record did at `time`, epoch seconds; `operation` is None without an answer.

    `connected` and `timestamp` (milliseconds) are what the record said.
    """

    time: float
    effect: RecordEffect
    operation: str | None
    connected: bool
    timestamp: int
    earlier: Entry | None = None


Entry = ReceivedEvent | Confirmation | RecordEntry


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
        if decided is None or client.adopted or decided.version != client.version:
            return None
        return decided if decided.session == client.packed_session else None

    @property
    def record(self) -> RecordEntry | None:
        """What AWS's record did last; None if nothing is remembered of it."""
        return next((entry for entry in self.entries if isinstance(entry, RecordEntry)), None)

    @property
    def ignored(self) -> list[ReceivedEvent]:
        """The events ignored since the last accepted one, oldest first."""
        ignored: list[ReceivedEvent] = []
        for entry in self.entries:
            if entry is self.decided:
                break
            if isinstance(entry, ReceivedEvent) and entry.effect.is_ignored:
                ignored.append(entry)
        return ignored[::-1]


class History:
    """The last `per_client` entries of each of the `max_clients` clients with the latest events.

    If `max_clients` becomes less, the oldest histories go one by one, with new ones that come.
    """

    def __init__(self, max_clients: int, per_client: int) -> None:
        self.per_client = per_client
        self.max_clients = max_clients
        self._clients: OrderedDict[str, ClientHistory] = OrderedDict()

    def get(self, client_id: str) -> ClientHistory:
        """Return the history of a client; it is empty if nothing is remembered."""
        return self._clients.get(client_id) or ClientHistory()

    def entries(self, client_id: str) -> list[Entry]:
        """Return the last entries of a client, newest first."""
        return list(islice(self.get(client_id).entries, self.per_client))

    def observe(self, changes: Iterable[ClientChange]) -> None:
        """Record events, what AWS's record did, and offline transitions after a delay."""
        if not self.max_clients:
            return
        for change in changes:
            event, transition = change.event, change.transition
            if change.after is None:
                self._clients.pop(change.client.client_id, None)
            elif event is not None:
                self._record(event, change)
            else:
                if change.record is not None:
                    self._record_answer(change, change.record)
                if transition is not None and transition.state is _OFFLINE:
                    self._record_confirmation(change, transition)

    def _record_answer(self, change: ClientChange, effect: RecordEffect) -> None:
        # A snapshot at the first start adopts the whole fleet: these would displace all others.
        history = (
            self._clients.get(change.client.client_id)
            if effect is RecordEffect.ADOPTED
            else self._opened(change.client.client_id)
        )
        if history is not None:
            client = change.client
            connected = client.state is State.ONLINE
            entry = RecordEntry(
                change.received, effect, change.operation, connected, client.timestamp
            )
            history.add(entry, self.per_client)

    def _record_confirmation(self, change: ClientChange, transition: Transition) -> None:
        history = self._clients.get(transition.client_id)
        if history is not None and change.record is not RecordEffect.CORRECTED:
            entry = Confirmation(transition.time, transition.since, transition.reason)
            history.add(entry, self.per_client)

    def _opened(self, client_id: str) -> ClientHistory:
        """Return the history of a client, which becomes the latest one."""
        history = self._clients.get(client_id)
        if history is None:
            history = self._clients[client_id] = ClientHistory()
            for _ in range(min(2, len(self._clients) - self.max_clients)):
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(client_id)
        return history

    def _record(self, event: ClientEvent, change: ClientChange) -> None:
        history = self._opened(event.client_id)
        effect = change.effect or Effect.NOTED
        untimed = isinstance(event, LifecycleEvent) and event.untimed
        entry = ReceivedEvent(
            change.received,
            event.type,
            effect,
            None if untimed else event.timestamp,
            event.version if isinstance(event, LifecycleEvent) else None,
            change.session,
            event.reason if isinstance(event, LifecycleEvent | ConnectFailedEvent) else None,
            change.against,
        )
        if isinstance(event, LifecycleEvent) and change.against is None:
            history.decided = entry
        # Several subscriptions follow each connect, and some clients repeat their status: these
        # would displace all other entries.
        if isinstance(event, SubscriptionEvent | StatusEvent) and effect is Effect.NOTED:
            history.others[entry.type] = entry
        else:
            history.add(entry, self.per_client)
