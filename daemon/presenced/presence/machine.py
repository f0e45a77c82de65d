"""The presence state machine, over all clients.

Two clocks come in as arguments: `received` is wall-clock time in seconds since the epoch, which
people see; `now` is monotonic time in seconds, which deadlines run on.
"""

from collections.abc import Iterable, Iterator

from presenced.events.model import LifecycleEvent
from presenced.presence.ambiguity import follows, resolve
from presenced.presence.client import (
    Client,
    ClientChange,
    Effect,
    EventStamp,
    ForgetReason,
    PackedSession,
    ReplacedConnection,
    State,
    pack,
)
from presenced.presence.client_rules import ClientRule
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.disconnects import MAX_DISCONNECTS, CountedDisconnects
from presenced.presence.forgetting import MAX_FORGOTTEN, ForgottenClients, OfflineClients
from presenced.presence.lookups import Lookups
from presenced.presence.merging import RecordMerger
from presenced.presence.ordering import Ordering, PresenceRules, same_connection
from presenced.presence.record import contradicts, order_after_row
from presenced.presence.status import Contradiction, StatusEvidence
from presenced.presence.transitions import Transitions

# As globals: see `State`.
_ONLINE, _PENDING, _OFFLINE, _UNKNOWN = State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN
_CORRECTIONS = (Ordering.SHOWS_ONLINE, Ordering.SHOWS_OFFLINE)


class Presence:
    """Every client's presence, derived from lifecycle events and time.

    Methods return what changed as `ClientChange`; nothing is called back. `last_gap_at` is the
    wall-clock time of the last gap in the received events. `lookups` are the clients that AWS
    should be asked about, `record` merges what it answers. `status` applies status messages. With
    `parts` it has the clients of one of so many partitions of a fleet, and remembers as many times
    fewer forgotten clients and counted disconnects.
    """

    def __init__(self, rules: PresenceRules, parts: int = 1) -> None:
        self.clients: dict[str, Client] = {}
        self.forgotten = ForgottenClients(limit=-(-MAX_FORGOTTEN // parts))
        self.counts = PresenceCounts()
        self.disconnects = CountedDisconnects(limit=-(-MAX_DISCONNECTS // parts))
        self.lookups = Lookups()
        self.last_gap_at = 0.0
        self.deadlines: Deadlines[Client | ReplacedConnection | OfflineClients | Contradiction] = (
            Deadlines()
        )
        self._states = Transitions(
            rules, self.counts, self.deadlines, self.disconnects, self.lookups
        )
        self.status = StatusEvidence(
            self.clients, self.forgotten, self.deadlines, self.lookups, self._states
        )
        self._contradictions = self.status.contradictions
        self.record = RecordMerger(
            self.clients, self.forgotten, self.lookups, self._states, self.status
        )

    @property
    def rules(self) -> PresenceRules:
        """The rules; `use_rules` replaces them."""
        return self._states.rules

    @property
    def gap_epoch(self) -> int:
        """How many gaps in the received events there have been."""
        return self._states.gap_epoch

    def use_rules(self, rules: PresenceRules) -> None:
        """Replace the rules.

        Offline delays apply to disconnects from now on, `forget_offline_after` also to clients that
        are offline already.
        """
        self._states.use_rules(rules, self.clients.values())

    def forget_after(self, client_id: str) -> float | None:
        """Return how many seconds a client may be offline before it is forgotten; None: forever."""
        return self.rules.forget_after(self.find_rule(client_id))

    def find_rule(self, client_id: str) -> ClientRule | None:
        """Return the rule of `presence.clients` for a client, which need not be known."""
        return self._states.find_rule(client_id)

    def deadline(self, client: Client) -> float | None:
        """Return when a client goes offline or is forgotten, in monotonic time; None for never."""
        forget_after = self.rules.forget_after(client.rule)
        if client.offline_at is not None and forget_after is not None:
            return client.offline_at + forget_after
        return client.deadline

    def apply(self, event: LifecycleEvent, received: float, now: float) -> ClientChange:
        """Apply one lifecycle event. Deadlines due at `now` must have been fired: see `fire`."""
        client = self.clients.get(event.client_id)
        session = pack(event.session)
        if client is not None and follows(event, client, session):
            return self._follow(event, client, session, received, now)
        before = None if client is None else client.state
        last = client
        if client is None or client.state is _UNKNOWN:
            last = self.forgotten.get(event.client_id)
        ordering, doubtful = self._order(event, last)
        if last is not None and not ordering.is_later:
            if last is client and ordering in _CORRECTIONS:
                return self._correct(ordering, event, client, session, received, now)
            return self._ignore(ordering, event, client, last, session, received)
        if self._contradictions:
            self.status.settle(event.client_id)
        was_connected = last is not None and last.connected
        if client is None:
            client = self._add(event.client_id)
        if last is not None and last is not client:
            self._remember(client, last)
        client.status_at = None
        self.counts.version_resets += ordering is Ordering.LATER_AFTER_RESET
        self._states.set_unverified(client, unverified=doubtful)
        ended = None
        if event.connected:
            effect, transition = self._states.connect(event, client, session, received, now)
            if doubtful:
                self.lookups.want(client.client_id)
        else:
            is_own = was_connected and same_connection(event, client)
            ended = self._states.end_connection(event, client, received, is_own=is_own)
            effect, transition = self._states.disconnect(event, client, session, received, now)
        return ClientChange(
            client, before, client.state, transition, event, effect, received, session, ended=ended
        )

    def _order(self, event: LifecycleEvent, last: Client | None) -> tuple[Ordering, bool]:
        """Compare an event with what is known of its client.

        Returns also whether it leaves a doubt: it contradicts AWS's record and only a lookup can
        decide, or it is a disconnect and the first event of its client.
        """
        if last is None or not last.has_event:
            return Ordering.LATER, last is None and not event.connected
        rules = self.rules.ordering
        if last.adopted:
            if not event.connected and self.disconnects.knows(event.client_id, event):
                return Ordering.DUPLICATE, False
            doubtful = contradicts(event, last, rules.timestamp_accuracy)
            return order_after_row(event, last, rules.timestamp_accuracy), doubtful
        return resolve(event, last, rules), False

    def _remember(self, client: Client, forgotten: Client) -> None:
        """Give a client that is known again what ordered its events before it was forgotten."""
        del self.forgotten[client.client_id]
        client.timestamp, client.version = forgotten.timestamp, forgotten.version
        client.packed_session, client.ambiguous = forgotten.packed_session, forgotten.ambiguous
        client.adopted = forgotten.adopted

    def _ignore(
        self,
        ordering: Ordering,
        event: LifecycleEvent,
        client: Client | None,
        last: Client,
        session: PackedSession,
        received: float,
    ) -> ClientChange:
        """Count an event that is not later than the last one; `client` is None if not known."""
        is_duplicate = ordering is Ordering.DUPLICATE
        effect = Effect.DUPLICATE if is_duplicate else Effect.STALE
        self.counts.ignored[effect.value] += 1
        ended = None
        if not (event.connected or is_duplicate):
            ended = self._states.count_disconnect(event, last, received)
        state = None if client is None else client.state
        return ClientChange(
            client or last,
            state,
            state,
            event=event,
            effect=effect,
            received=received,
            session=session,
            against=last.stamp,
            changed=not is_duplicate or last.ambiguous is not None,
            ended=ended,
        )

    def _correct(
        self,
        ordering: Ordering,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
    ) -> ClientChange:
        """Change the state because an event shows that the last accepted one was not the last.

        `resolve` has put the other one in its place.
        """
        before = client.state
        if self._contradictions:
            self.status.settle(client.client_id)
        self._states.verify(client)
        if ordering is Ordering.SHOWS_ONLINE:
            effect, transition = self._states.go_online(client, received, received)
        else:
            since = self._states.began(client.timestamp, received)
            effect, transition = self._states.begin_delay(client, since, received, now)
        return ClientChange(
            client, before, client.state, transition, event, effect, received, session
        )

    def _follow(
        self,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
    ) -> ClientChange:
        """Apply an event for which `follows` is true; the fast path of `apply`."""
        before = client.state
        if self._contradictions:
            self.status.settle(client.client_id)
        if client.gap_epoch != self._states.gap_epoch:
            self._states.verify(client)
        ended = None
        if event.connected:
            client.timestamp, client.version = event.timestamp, event.version
            client.packed_session = session
            effect, transition = self._states.go_online(
                client, self._states.began(event.timestamp, received), received
            )
        else:
            ended = self._states.end_connection(event, client, received)
            client.timestamp, client.reason = event.timestamp, event.reason
            effect, transition = self._states.begin_delay(
                client, self._states.began(event.timestamp, received), received, now
            )
        return ClientChange(
            client, before, client.state, transition, event, effect, received, session, ended=ended
        )

    def add(self, client_id: str) -> ClientChange | None:
        """Add a client in the state unknown; None if the client is known."""
        if client_id in self.clients:
            return None
        return ClientChange(self._add(client_id), None, _UNKNOWN)

    def suppose_online(
        self, client_id: str, timestamp: int, received: float
    ) -> ClientChange | None:
        """Assume that a client without any known event is online, until a lifecycle event of it.

        `timestamp` is the event time of the sign of life, in milliseconds. A lifecycle event
        overrules this, whatever it says. None if something is known.
        """
        client = self.clients.get(client_id)
        if client_id in self.forgotten or (client and client.state is not _UNKNOWN):
            return None
        before = None if client is None else client.state
        client = client or self._add(client_id)
        self._states.verify(client)
        client.since = self._states.began(timestamp, received)
        self.counts.supposed_online += 1
        transition = self._states.change(client, _ONLINE, received)
        return ClientChange(client, before, _ONLINE, transition, effect=Effect.WENT_ONLINE)

    def note_gap(self, at: float) -> None:
        """Note a gap: events from before `at`, in wall-clock seconds, may have been lost.

        States stay. All clients are unverified until an event or AWS's record confirms or changes
        their state.
        """
        self._states.gap_epoch += 1
        self.last_gap_at = at
        self.counts.unverified = dict(self.counts.clients)

    def is_unverified(self, client: Client) -> bool:
        """Return whether there is a doubt about a client: see `Transitions.is_unverified`."""
        return self._states.is_unverified(client)

    def confirm_online(self, client: Client, at: float) -> bool:
        """Verify an unverified online client by a sign of life at `at`, in wall-clock seconds.

        Returns whether it was unverified before.
        """
        if client.state is not _ONLINE or at < self.last_gap_at or not self.is_unverified(client):
            return False
        self._states.verify(client)
        self.status.review(client)
        return True

    def restore_gaps(self, epoch: int, last_gap_at: float) -> None:
        """Take over the gaps of an earlier process, before any client is restored."""
        self._states.gap_epoch, self.last_gap_at = epoch, last_gap_at

    def restore(
        self,
        client: Client,
        deadline: float | None,
        awaited: Iterable[tuple[EventStamp, float]] = (),
    ) -> None:
        """Take over a client that an earlier process kept; it must not be known yet.

        `deadline` is when a pending client goes offline, or when an offline one went offline.
        `awaited` are its replaced connections, each with the time until which its disconnect is
        awaited. All times are on the clock of `now`.
        """
        client.rule = self._states.find_rule(client.client_id)
        self.clients[client.client_id] = client
        self.counts.clients[client.state] += 1
        if client.state is _OFFLINE:
            self.counts.count_offline(client.reason, 1)
        self.counts.unverified[client.state] += client.gap_epoch != self.gap_epoch
        if deadline is not None and client.state is _OFFLINE:
            self._states.offline.add(client, deadline)
        elif deadline is not None:
            self.deadlines.schedule(deadline, client)
        for connect, until in awaited:
            self._states.awaited.expect(client, connect, until)

    def fire(self, now: float, offset: float) -> Iterator[ClientChange | None]:
        """Fire the deadlines that are due at `now`, in order, and yield what each changed.

        `offset` is what turns monotonic into wall-clock time.
        """
        for when, item in self.deadlines.due(now):
            if isinstance(item, Client):
                transition, effect = self._states.end_of_delay(item, when + offset, when)
                if self._contradictions:
                    self.status.review(item)
                yield ClientChange(
                    item, _PENDING, item.state, transition, received=when + offset, record=effect
                )
            elif isinstance(item, ReplacedConnection):
                self._states.awaited.miss(item)
                yield ClientChange(item.client, item.client.state, item.client.state)
            elif isinstance(item, Contradiction):
                self.status.doubt(item)
                yield ClientChange(item.client, item.client.state, item.client.state)
            else:
                client = item.take_expired(when)
                yield None if client is None else self.forget(client.client_id, "expired")

    def forget(self, client_id: str, reason: ForgetReason) -> ClientChange | None:
        """Drop a client; None if it is not known.

        What ordering needs is kept for the clients forgotten last, so that a late or second copy
        of an old event does not revive one. On request that is dropped, too.
        """
        change = self._drop(client_id)
        if reason == "requested":
            record = self.forgotten.pop(client_id, None)
            if change is None and record is not None:
                return ClientChange(record, None, None)
        elif change is not None and change.client.has_event:
            change.dropped = self.forgotten.add(change.client)
        self.counts.forgotten[reason] += change is not None
        return change

    def drop_unknown(self, client_id: str) -> ClientChange | None:
        """Drop a client that is still unknown; None if there is none."""
        client = self.clients.get(client_id)
        return None if client is None or client.state is not _UNKNOWN else self._drop(client_id)

    def _add(self, client_id: str) -> Client:
        client = self.clients[client_id] = self._states.new_client(client_id)
        return client

    def _drop(self, client_id: str) -> ClientChange | None:
        client = self.clients.pop(client_id, None)
        if client is None:
            return None
        self.deadlines.cancel(client)
        self.lookups.settle(client_id)
        self.status.settle(client_id)
        self._states.offline.discard(client)
        self._states.awaited.drop(client)
        self._states.verify(client)
        self.counts.clients[client.state] -= 1
        if client.state is _OFFLINE:
            self.counts.count_offline(client.reason, -1)
        return ClientChange(client, client.state, None)
