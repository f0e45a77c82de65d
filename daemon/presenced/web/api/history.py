"""What is remembered of the events of clients, in memory, so that their stories can be told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice

import msgspec

from presenced.events.model import ConnectFailedEvent, LifecycleEvent, SubscriptionEvent
from presenced.pipeline import ClientEvent
from presenced.presence import Client, State, Transition
from presenced.presence.ordering import Ordering, PackedSession, pack

_FEW = 8
# A name of a module costs a fifth of what a member of an enumeration does.
_ONLINE, _PENDING, _OFFLINE = State.ONLINE, State.PENDING, State.OFFLINE
_DUPLICATE, _STALE = Ordering.DUPLICATE, Ordering.STALE


class Effect(StrEnum):
    """What an event did."""

    WENT_ONLINE = "went_online"
    WENT_OFFLINE = "went_offline"
    BEGAN_DELAY = "began_delay"
    """A disconnect, that has to stand for the offline delay."""
    FLAP_SUPPRESSED = "flap_suppressed"
    """A connect within the offline delay."""
    CONNECTION_REPLACED = "connection_replaced"
    """A connect while another connection was open."""
    NOTED = "noted"
    """It told something new, but the state stayed."""
    DUPLICATE = "duplicate"
    STALE = "stale"
    """It tells of something from before the event that decided."""

    @property
    def is_ignored(self) -> bool:
        """Whether the event was ignored, as one that is not later than what was known."""
        return self in (Effect.DUPLICATE, Effect.STALE)


_BEGAN_DELAY, _WENT_OFFLINE = Effect.BEGAN_DELAY, Effect.WENT_OFFLINE
_FLAP_SUPPRESSED, _WENT_ONLINE = Effect.FLAP_SUPPRESSED, Effect.WENT_ONLINE
_CONNECTION_REPLACED, _NOTED = Effect.CONNECTION_REPLACED, Effect.NOTED


class Rival(msgspec.Struct, frozen=True, gc=False):
    """The event that an ignored one was measured against; `timestamp` is in milliseconds."""

    type: str
    timestamp: int
    version: int | None
    session: PackedSession


class Arrival(msgspec.Struct, eq=False, gc=False):
    """An event, as it arrived at `received`, epoch seconds.

    `timestamp` is its event time in milliseconds, None where it carries none. `against` is what it
    was measured against, where it was ignored. `earlier` is the entry before it.
    """

    received: float
    type: str
    effect: Effect
    timestamp: int | None = None
    version: int | None = None
    session: PackedSession = None
    reason: str | None = None
    against: Rival | None = None
    earlier: Entry | None = None

    @property
    def stamp(self) -> tuple[int | None, PackedSession]:
        """What tells the connection that it is of."""
        return self.version, self.session

    @property
    def late(self) -> float | None:
        """Seconds from its event time until it arrived; clocks may make them negative."""
        return None if self.timestamp is None else self.received - self.timestamp / 1000


class Confirmation(msgspec.Struct, eq=False, gc=False):
    """A client was taken for offline at `time`, once its disconnect had stood since `since`."""

    time: float
    since: float
    reason: str | None
    earlier: Entry | None = None


Entry = Arrival | Confirmation


# Entries are a chain, so that one more touches no other; a list would be looked at by the garbage
# collector time and again, with all that is in it.
class Record(msgspec.Struct, eq=False, gc=False):
    """What is remembered of one client: a chain of entries, and the last of the other events.

    `decided` is the event that its state follows from, None where that came before the record.
    """

    newest: Entry | None = None
    length: int = 0
    decided: Arrival | None = None
    others: dict[str, Arrival] = {}

    def add(self, entry: Entry, most: int) -> None:
        """Put an entry before the others, of which `most` stay, or a few more."""
        entry.earlier = self.newest
        self.newest = entry
        self.length += 1
        if self.length > most + _FEW:
            last = entry
            for _ in range(most - 1):
                last = last.earlier or last
            last.earlier = None
            self.length = most

    @property
    def entries(self) -> Iterator[Entry]:
        """The entries, the newest first."""
        entry = self.newest
        while entry is not None:
            yield entry
            entry = entry.earlier

    @property
    def last(self) -> dict[str, Arrival]:
        """The last event of each type, as far as they are remembered."""
        last = dict(self.others)
        for entry in self.entries:
            if isinstance(entry, Arrival):
                last.setdefault(entry.type, entry)
        return last

    def decided_for(self, client: Client) -> Arrival | None:
        """The event that the client's state follows from, None where it is not remembered.

        Where a doubt was settled, it may be another one than was accepted last.
        """
        decided = self.decided
        if decided is None or decided.stamp != (client.version, client.packed_session):
            return None
        return decided

    @property
    def ignored(self) -> list[Arrival]:
        """What was ignored since the event that decided, the oldest first."""
        ignored: list[Arrival] = []
        for entry in self.entries:
            if entry is self.decided:
                break
            if isinstance(entry, Arrival) and entry.effect.is_ignored:
                ignored.append(entry)
        return ignored[::-1]


class History:
    """Remembers the last `per_client` events of those `clients` of which one came last.

    `find` tells the client of an ID, None where there is none.
    """

    def __init__(self, clients: int, per_client: int, find: Callable[[str], Client | None]) -> None:
        self._most = clients
        self._per_client = per_client
        self._find = find
        self._records: OrderedDict[str, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def per_client(self) -> int:
        """How many events of a client are remembered at most."""
        return self._per_client

    def get(self, client_id: str) -> Record | None:
        """What is remembered of a client."""
        return self._records.get(client_id)

    def entries(self, client_id: str) -> list[Entry]:
        """The last entries of a client, the newest first."""
        record = self._records.get(client_id)
        return list(islice(record.entries, self._per_client)) if record else []

    def heard(
        self, event: ClientEvent, received: float, before: State, ordering: Ordering | None
    ) -> None:
        """Take an event down that has been applied.

        `before` is the state of its client that events had told before, unknown where they had
        told none. `ordering` is how the event stood to what was known, None for one that is not set
        in order.
        """
        client = self._find(event.client_id)
        if client is None or not self._most:
            return
        record = self._record(event.client_id)
        if not isinstance(event, LifecycleEvent) or ordering is None:
            self._heard_other(record, event, received, before, client)
            return
        if ordering is _DUPLICATE:
            arrival = _ignored(event, received, client, Effect.DUPLICATE)
        elif ordering is _STALE:
            arrival = _ignored(event, received, client, Effect.STALE)
        else:
            arrival = record.decided = _accepted(event, received, before, client)
        record.add(arrival, self._per_client)

    def _heard_other(
        self,
        record: Record,
        event: ClientEvent,
        received: float,
        before: State,
        client: Client,
    ) -> None:
        arrival = _other(event, received, before, client)
        # Several subscriptions come with each connect; they would push out all else.
        if isinstance(event, ConnectFailedEvent) or arrival.effect is not Effect.NOTED:
            record.add(arrival, self._per_client)
        else:
            record.others[arrival.type] = arrival

    def confirmed(self, client: Client, transition: Transition) -> None:
        """Take down that a client went offline, where it was not by an event at once."""
        if transition.state is _OFFLINE and transition.time != transition.since:
            record = self._records.get(client.client_id)
            if record is not None:
                entry = Confirmation(transition.time, transition.since, transition.reason)
                record.add(entry, self._per_client)

    def forget(self, client: Client) -> None:
        """Remember nothing of a client."""
        self._records.pop(client.client_id, None)

    def _record(self, client_id: str) -> Record:
        record = self._records.get(client_id)
        if record is None:
            record = self._records[client_id] = Record()
            if len(self._records) > self._most:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(client_id)
        return record


def _accepted(event: LifecycleEvent, received: float, before: State, client: Client) -> Arrival:
    """A lifecycle event from which the state of its client follows."""
    return Arrival(
        received,
        event.type,
        _effect(event.type, received, before, client),
        None if event.untimed else event.timestamp,
        event.version,
        client.packed_session,
        event.reason,
    )


def _ignored(event: LifecycleEvent, received: float, client: Client, effect: Effect) -> Arrival:
    """A lifecycle event that is not later than what is known."""
    return Arrival(
        received,
        event.type,
        effect,
        None if event.untimed else event.timestamp,
        event.version,
        pack(event.session),
        event.reason,
        _rival(client),
    )


def _other(event: ClientEvent, received: float, before: State, client: Client) -> Arrival:
    """An event that is not set in order with others."""
    return Arrival(
        received,
        event.type,
        Effect.WENT_ONLINE if _has_come(client, before, received) else Effect.NOTED,
        event.timestamp,
        session=pack(event.session) if isinstance(event, SubscriptionEvent) else None,
        reason=event.reason if isinstance(event, ConnectFailedEvent) else None,
    )


def _effect(kind: str, received: float, before: State, client: Client) -> Effect:
    after = client.state
    if after is before:
        is_replaced = after is _ONLINE and kind == "connected"
        return _CONNECTION_REPLACED if is_replaced else _NOTED
    if after is _PENDING:
        return _BEGAN_DELAY
    if after is _OFFLINE:
        return _WENT_OFFLINE
    if before is _PENDING:
        return _FLAP_SUPPRESSED
    return _WENT_ONLINE if _has_come(client, before, received) else _NOTED


def _has_come(client: Client, before: State, received: float) -> bool:
    """Whether an event took a client online; one may have been taken for online before it."""
    return client.state is _ONLINE and before is not client.state and client.since == received


def _rival(client: Client) -> Rival:
    kind = "connected" if client.connected else "disconnected"
    return Rival(kind, client.timestamp, client.version, client.packed_session)
