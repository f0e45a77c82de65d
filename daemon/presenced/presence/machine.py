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
    Transition,
    pack,
)
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.disconnects import AwaitedDisconnects, CountedDisconnects
from presenced.presence.forgetting import ForgottenClients, OfflineClients
from presenced.presence.ordering import Ordering, PresenceRules, same_connection

# As globals: see `State`.
_ONLINE, _PENDING, _OFFLINE, _UNKNOWN = State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN
_WENT_ONLINE, _BEGAN_DELAY = Effect.WENT_ONLINE, Effect.BEGAN_DELAY
_FLAP_SUPPRESSED = Effect.FLAP_SUPPRESSED
_CORRECTIONS = (Ordering.SHOWS_ONLINE, Ordering.SHOWS_OFFLINE)

_Outcome = tuple[Effect, Transition | None]


class Presence:
    """Every client's presence, derived from lifecycle events and time.

    Methods return what changed as `ClientChange`; nothing is called back. `rules` are replaced by
    `use_rules` only. `gap_epoch` is how many gaps in the received events there have been,
    `last_gap_at` the wall-clock time of the last one.
    """

    def __init__(self, rules: PresenceRules) -> None:
        self.rules = rules
        self.clients: dict[str, Client] = {}
        self.forgotten = ForgottenClients()
        self.counts = PresenceCounts()
        self.disconnects = CountedDisconnects()
        self.gap_epoch = 0
        self.last_gap_at = 0.0
        self.deadlines: Deadlines[Client | ReplacedConnection | OfflineClients] = Deadlines()
        self._awaited = AwaitedDisconnects(self.deadlines, self.counts)
        self._offline = OfflineClients(self.deadlines, rules.forget_offline_after)

    def use_rules(self, rules: PresenceRules) -> None:
        """Replace the rules.

        Offline delays apply to disconnects from now on, `forget_offline_after` also to clients that
        are offline already.
        """
        self.rules = rules
        self._offline.forget_after(rules.forget_offline_after)

    def deadline(self, client: Client) -> float | None:
        """Return when a client goes offline or is forgotten, in monotonic time; None for never."""
        forget_after = self.rules.forget_offline_after
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
        ordering, was_connected = Ordering.LATER, False
        if last is not None and last.has_event:
            ordering = resolve(event, last, self.rules.ordering)
            was_connected = last.connected
            if not ordering.is_later:
                if last is client and ordering in _CORRECTIONS:
                    return self._correct(ordering, event, client, session, received, now)
                return self._ignore(ordering, event, client, last, session, received)
        if client is None:
            client = self._add(event.client_id)
        if last is not None and last is not client:
            del self.forgotten[client.client_id]
            client.timestamp, client.version = last.timestamp, last.version
            client.packed_session, client.ambiguous = last.packed_session, last.ambiguous
        if ordering is Ordering.LATER_AFTER_RESET:
            self.counts.version_resets += 1
        self._verify(client)
        if event.connected:
            effect, transition = self._connect(event, client, session, received, now)
        else:
            is_own = was_connected and same_connection(event, client)
            effect, transition = self._disconnect(event, client, session, received, now, is_own)
        return ClientChange(
            client, before, client.state, transition, event, effect, received, session
        )

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
        if not (event.connected or is_duplicate):
            self._count_disconnect(event, last)
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
        self._verify(client)
        if ordering is Ordering.SHOWS_ONLINE:
            effect, transition = self._go_online(client, received, received)
        else:
            since = self._began(client.timestamp, received)
            effect, transition = self._begin_delay(client, since, received, now)
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
        if client.gap_epoch != self.gap_epoch:
            self._verify(client)
        if event.connected:
            client.timestamp, client.version = event.timestamp, event.version
            client.packed_session = session
            effect, transition = self._go_online(
                client, self._began(event.timestamp, received), received
            )
        else:
            self.counts.session_duration.observe((event.timestamp - client.timestamp) / 1000)
            self._count_disconnect(event, client)
            client.timestamp, client.reason = event.timestamp, event.reason
            effect, transition = self._begin_delay(
                client, self._began(event.timestamp, received), received, now
            )
        return ClientChange(
            client, before, client.state, transition, event, effect, received, session
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
        self._verify(client)
        client.since = self._began(timestamp, received)
        self.counts.supposed_online += 1
        transition = self._change(client, _ONLINE, received)
        return ClientChange(client, before, _ONLINE, transition, effect=_WENT_ONLINE)

    def note_gap(self, at: float) -> None:
        """Note a gap: events from before `at`, in wall-clock seconds, may have been lost.

        States stay. Clients that are online or pending are unverified (`PresenceCounts.unverified`)
        until an event confirms or changes their state.
        """
        self.gap_epoch += 1
        self.last_gap_at = at
        clients = self.counts.clients
        self.counts.unverified = clients[_ONLINE] + clients[_PENDING]

    def is_unverified(self, client: Client) -> bool:
        """Return whether a gap leaves a doubt about a client that is online or pending."""
        return client.gap_epoch != self.gap_epoch and client.state in (_ONLINE, _PENDING)

    def confirm_online(self, client: Client, at: float) -> bool:
        """Verify an unverified online client by a sign of life at `at`, in wall-clock seconds.

        Returns whether it was unverified before.
        """
        if client.state is not _ONLINE or at < self.last_gap_at or not self.is_unverified(client):
            return False
        self._verify(client)
        return True

    def restore_gaps(self, epoch: int, last_gap_at: float) -> None:
        """Take over the gaps of an earlier process, before any client is restored."""
        self.gap_epoch, self.last_gap_at = epoch, last_gap_at

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
        self.clients[client.client_id] = client
        self.counts.clients[client.state] += 1
        self.counts.unverified += self.is_unverified(client)
        if deadline is not None and client.state is _OFFLINE:
            self._offline.add(client, deadline)
        elif deadline is not None:
            self.deadlines.schedule(deadline, client)
        for connect, until in awaited:
            self._awaited.expect(client, connect, until)

    def fire(self, now: float, offset: float) -> Iterator[ClientChange | None]:
        """Fire the deadlines that are due at `now`, in order, and yield what each changed.

        `offset` is what turns monotonic into wall-clock time.
        """
        for when, item in self.deadlines.due(now):
            if isinstance(item, Client):
                transition = self._go_offline(item, when + offset, when)
                yield ClientChange(item, _PENDING, _OFFLINE, transition)
            elif isinstance(item, ReplacedConnection):
                self._awaited.miss(item)
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
        client = self.clients[client_id] = Client(client_id, gap_epoch=self.gap_epoch)
        self.counts.clients[_UNKNOWN] += 1
        return client

    def _drop(self, client_id: str) -> ClientChange | None:
        client = self.clients.pop(client_id, None)
        if client is None:
            return None
        self.deadlines.cancel(client)
        self._offline.discard(client)
        self._awaited.drop(client)
        self._verify(client)
        self.counts.clients[client.state] -= 1
        return ClientChange(client, client.state, None)

    def _connect(
        self,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
    ) -> _Outcome:
        replaces = client.connected
        if replaces:
            self.counts.connections_replaced += 1
            ahead = self.rules.offline_delay
            self._awaited.expect(client, client.stamp, now + ahead, ahead=ahead)
        client.timestamp, client.version = event.timestamp, event.version
        client.packed_session = session
        effect, transition = self._go_online(
            client, self._began(event.timestamp, received), received
        )
        return Effect.CONNECTION_REPLACED if replaces else effect, transition

    def _began(self, timestamp: int, received: float) -> float:
        """Return when the state that an event led to began, in seconds since the epoch.

        Event times are approximate, so it is the received time, unless the event came late.
        """
        late = received * 1000 - timestamp > self.rules.ordering.timestamp_accuracy
        return timestamp / 1000 if late else received

    def _go_online(self, client: Client, since: float, received: float) -> _Outcome:
        """Transition to online from any state."""
        state, client.reason = client.state, None
        if state is _PENDING:
            self.counts.flaps_suppressed += 1
            self.deadlines.cancel(client)
            self._enter(client, _ONLINE)
            client.since = client.transition
            return _FLAP_SUPPRESSED, None
        if state is _ONLINE:
            return Effect.NOTED, None
        if state is _OFFLINE and client.since is not None:
            self.counts.offline_duration.observe(since - client.since)
        self._offline.discard(client)
        client.since = since
        return _WENT_ONLINE, self._change(client, _ONLINE, received)

    def _disconnect(
        self,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
        is_own: bool,  # noqa: FBT001
    ) -> _Outcome:
        """Apply an accepted disconnect; `is_own` if it ends the connection known last."""
        if is_own:
            self.counts.session_duration.observe((event.timestamp - client.timestamp) / 1000)
        else:
            self.counts.missed["connected"] += 1
        self._count_disconnect(event, client)
        client.timestamp, client.version = event.timestamp, event.version
        client.packed_session, client.reason = session, event.reason
        since = self._began(event.timestamp, received)
        if client.state is _ONLINE:
            return self._begin_delay(client, since, received, now)
        if client.state is _UNKNOWN:
            client.since = since
            return Effect.WENT_OFFLINE, self._go_offline(client, received, now)
        return Effect.NOTED, None

    def _begin_delay(self, client: Client, since: float, received: float, now: float) -> _Outcome:
        """Make an online client pending, and schedule when it goes offline."""
        client.since = since
        self._enter(client, _PENDING)
        delay = self.rules.delay(client.reason)
        if delay > 0:
            self.deadlines.schedule(now + delay, client, ahead=delay)
            return _BEGAN_DELAY, None
        return Effect.WENT_OFFLINE, self._go_offline(client, received, now)

    def _count_disconnect(self, event: LifecycleEvent, client: Client) -> None:
        """Count a disconnect once, even if it changes nothing any more."""
        if not self.disconnects.add(event.client_id, event):
            return
        if client.replaced:
            self._awaited.settle(event, client)
        self.counts.count_disconnect(event.reason, client_initiated=event.client_initiated)

    def _verify(self, client: Client) -> None:
        self.counts.unverified -= self.is_unverified(client)
        client.gap_epoch = self.gap_epoch

    def _go_offline(self, client: Client, confirmed: float, now: float) -> Transition:
        if client.gap_epoch != self.gap_epoch:
            self._verify(client)
        self._offline.add(client, now)
        return self._change(client, _OFFLINE, confirmed)

    def _change(self, client: Client, state: State, confirmed: float) -> Transition:
        previous = _ONLINE if client.state is _PENDING else client.state
        since = client.since if client.since is not None else confirmed
        self._enter(client, state)
        client.transition = since
        self.counts.transitions[state] += 1
        return Transition(confirmed, since, client.client_id, previous, state, client.reason)

    def _enter(self, client: Client, state: State) -> None:
        self.counts.clients[client.state] -= 1
        client.state = state
        self.counts.clients[state] += 1
