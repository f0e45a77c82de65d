"""What is remembered of the events of clients, in memory, so that their stories can be told."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from presenced.events import ConnectFailedEvent, LifecycleEvent, SubscriptionEvent
from presenced.presence import Client, State, Transition
from presenced.presence.sessions import PackedSession, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from presenced.pipeline import ClientEvent
    from presenced.presence.ordering import Ordering

__all__ = ["Arrival", "Confirmation", "Effect", "Entry", "History", "Record", "Rival"]


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


class Rival(msgspec.Struct, frozen=True, gc=False):
    """The event that an ignored one was measured against; `timestamp` is in milliseconds."""

    type: str
    timestamp: int
    version: int | None
    session: PackedSession


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event, as it arrived at `received`, epoch seconds.

    `timestamp` is its event time in milliseconds, None where it carries none. `against` is what it
    was measured against, where it was ignored.
    """

    received: float
    type: str
    effect: Effect
    timestamp: int | None = None
    version: int | None = None
    session: PackedSession = None
    reason: str | None = None
    against: Rival | None = None

    @property
    def late(self) -> float | None:
        """Seconds from its event time until it arrived; clocks may make them negative."""
        return None if self.timestamp is None else self.received - self.timestamp / 1000


class Confirmation(msgspec.Struct, frozen=True, gc=False):
    """A client was taken for offline at `time`, once its disconnect had stood since `since`."""

    time: float
    since: float
    reason: str | None


Entry = Arrival | Confirmation


# Neither this nor what is in it is followed by the garbage collector, which would look at all of it
# again and again.
class Record(msgspec.Struct, gc=False):
    """What is remembered of one client: `entries`, oldest first, and the last event of each type.

    `decided` is the event that its state follows from, None where that came before the record.
    """

    entries: tuple[Entry, ...] = ()
    last: dict[str, Arrival] = {}
    decided: Arrival | None = None

    @property
    def ignored(self) -> Sequence[Arrival]:
        """What was ignored since the event that decided."""
        ignored = []
        for entry in reversed(self.entries):
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
        arrival = _arrival(event, received, before, client, ordering)
        record.last[arrival.type] = arrival
        if isinstance(event, SubscriptionEvent) and arrival.effect is Effect.NOTED:
            return  # several come with each connect; they would push out all else
        if ordering is not None and not arrival.effect.is_ignored:
            record.decided = arrival
        self._add(record, arrival)

    def confirmed(self, client: Client, transition: Transition) -> None:
        """Take down that a client went offline, where it was not by an event at once."""
        if transition.state is State.OFFLINE and transition.time != transition.since:
            record = self._records.get(client.client_id)
            if record is not None:
                entry = Confirmation(transition.time, transition.since, transition.reason)
                self._add(record, entry)

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

    def _add(self, record: Record, entry: Entry) -> None:
        record.entries = (*record.entries, entry)[-self._per_client :]


def _arrival(
    event: ClientEvent, received: float, before: State, client: Client, ordering: Ordering | None
) -> Arrival:
    if not isinstance(event, LifecycleEvent):
        session = pack(event.session) if isinstance(event, SubscriptionEvent) else None
        reason = event.reason if isinstance(event, ConnectFailedEvent) else None
        return Arrival(
            received,
            event.type,
            Effect.WENT_ONLINE if _has_come(client, before, received) else Effect.NOTED,
            event.timestamp,
            session=session,
            reason=reason,
        )
    effect = _effect(event, received, before, client, ordering)
    return Arrival(
        received,
        event.type,
        effect,
        None if event.untimed else event.timestamp,
        event.version,
        pack(event.session),
        event.reason,
        _rival(client) if effect.is_ignored else None,
    )


def _effect(
    event: LifecycleEvent,
    received: float,
    before: State,
    client: Client,
    ordering: Ordering | None,
) -> Effect:
    if ordering is not None and not ordering.is_later:
        return Effect(ordering.value)
    if client.state is before:
        is_replaced = event.connected and before is State.ONLINE
        return Effect.CONNECTION_REPLACED if is_replaced else Effect.NOTED
    if client.state is State.PENDING:
        return Effect.BEGAN_DELAY
    if client.state is State.OFFLINE:
        return Effect.WENT_OFFLINE
    if before is State.PENDING:
        return Effect.FLAP_SUPPRESSED
    return Effect.WENT_ONLINE if _has_come(client, before, received) else Effect.NOTED


def _has_come(client: Client, before: State, received: float) -> bool:
    """Whether an event took a client online; one may have been taken for online before it."""
    return client.state is State.ONLINE and before is not client.state and client.since == received


def _rival(client: Client) -> Rival:
    kind = "connected" if client.connected else "disconnected"
    return Rival(kind, client.timestamp, client.version, client.packed_session)
