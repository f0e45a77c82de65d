"""What is remembered of the events of clients, in memory, so that their stories can be told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from presenced.events.model import LifecycleEvent, SubscriptionEvent
from presenced.presence import Client, ClientChange, ClientEvent, Effect, State
from presenced.presence.client import EventStamp, PackedSession

_FEW = 8
_OFFLINE = State.OFFLINE


class Arrival(msgspec.Struct, eq=False, gc=False):
    """An event, as it arrived at `received`, epoch seconds.

    `timestamp` is its event time in milliseconds, None where it carries none. `against` is the
    accepted event that it was compared with, if it was ignored. `earlier` is the entry before it.
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
    """Remembers the last `per_client` events of the `clients` that had events last."""

    def __init__(self, clients: int, per_client: int) -> None:
        self._limit = clients
        self._per_client = per_client
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

    def observe(self, changes: Iterable[ClientChange]) -> None:
        """Remember the events of clients, and when clients were confirmed to be offline."""
        if not self._limit:
            return
        for change in changes:
            event, transition = change.event, change.transition
            if change.after is None:
                self._records.pop(change.client.client_id, None)
            elif event is not None:
                self._remember(event, change)
            elif transition is not None and transition.state is _OFFLINE:
                record = self._records.get(transition.client_id)
                if record is not None:
                    entry = Confirmation(transition.time, transition.since, transition.reason)
                    record.add(entry, self._per_client)

    def _remember(self, event: ClientEvent, change: ClientChange) -> None:
        record = self._record(event.client_id)
        effect = change.effect or Effect.NOTED
        untimed = isinstance(event, LifecycleEvent) and event.untimed
        arrival = Arrival(
            change.received,
            event.type,
            effect,
            None if untimed else event.timestamp,
            event.version if isinstance(event, LifecycleEvent) else None,
            change.session,
            None if isinstance(event, SubscriptionEvent) else event.reason,
            change.against,
        )
        if isinstance(event, LifecycleEvent) and change.against is None:
            record.decided = arrival
        # Several subscriptions come with each connect and would push out everything else.
        if isinstance(event, SubscriptionEvent) and effect is Effect.NOTED:
            record.others[arrival.type] = arrival
        else:
            record.add(arrival, self._per_client)

    def _record(self, client_id: str) -> Record:
        record = self._records.get(client_id)
        if record is None:
            record = self._records[client_id] = Record()
            if len(self._records) > self._limit:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(client_id)
        return record
