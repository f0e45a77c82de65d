"""The presence state machine, over all clients.

Two clocks come in as arguments: `received` is wall-clock time in seconds since the epoch and is
what people are shown; `now` is monotonic time in seconds and is what deadlines run on.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from presenced.events.model import LifecycleEvent
from presenced.presence.client import (
    Client,
    ConnectionKey,
    ForgetReason,
    Replaced,
    State,
    Transition,
    follows,
    judge,
)
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines, OfflineClients
from presenced.presence.ordering import Ordering, PresenceRules, pack, same_connection
from presenced.presence.remembered import AwaitedDisconnects, CountedDisconnects, Departed

# A name of a module costs a fifth of what a member of an enumeration does.
_ONLINE, _PENDING, _OFFLINE, _UNKNOWN = State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN
_LATER = Ordering.LATER


def _no_one(*_: object) -> None:
    """Nobody listens."""


class Presence:
    """Every client's presence, made from lifecycle events and time.

    `on_transition` is told each transition and whose it is, `on_count` each client that enters
    (1) or leaves (-1) a state, where it is not None, `on_enter` each client that was not known,
    `on_forget` each client that is dropped, and `on_change` the client ID of each of which
    something else is known now.

    `deadlines` are all that it has. `gaps` is how many gaps in what was received there have been,
    and `doubted_at` the wall-clock time of the last: see `doubt`.
    """

    def __init__(
        self,
        rules: PresenceRules,
        *,
        on_transition: Callable[[Client, Transition], None] = _no_one,
        on_count: Callable[[Client, State, int], None] | None = None,
        on_enter: Callable[[Client], None] = _no_one,
        on_forget: Callable[[Client], None] = _no_one,
        on_change: Callable[[str], None] = _no_one,
    ) -> None:
        self._rules = rules
        self.clients: dict[str, Client] = {}
        self.departed = Departed(on_drop=lambda client_id: self.on_change(client_id))
        self.counts = PresenceCounts()
        self.disconnects = CountedDisconnects()
        self.gaps = 0
        self.doubted_at = 0.0
        self.deadlines: Deadlines[Client | Replaced | OfflineClients] = Deadlines()
        self._awaited = AwaitedDisconnects(self.deadlines, self.counts)
        self._offline = OfflineClients(self.deadlines, rules.forget_offline_after)
        self._on_transition = on_transition
        self.on_count = on_count
        self._on_enter = on_enter
        self._on_forget = on_forget
        self.on_change = on_change

    @property
    def rules(self) -> PresenceRules:
        """What decides how presence follows from events; may be replaced at any time.

        Other offline delays count for disconnects from then on, another `forget_offline_after` for
        those who are offline already, too.
        """
        return self._rules

    @rules.setter
    def rules(self, rules: PresenceRules) -> None:
        self._rules = rules
        self._offline.forget_after(rules.forget_offline_after)

    @property
    def next_deadline(self) -> float | None:
        """Monotonic time at which `advance` has something to do."""
        return self.deadlines.next

    @property
    def pending_deadlines(self) -> int:
        """How many deadlines are scheduled."""
        return len(self.deadlines) + len(self._offline) - (self._offline.deadline is not None)

    def deadline(self, client: Client) -> float | None:
        """Monotonic time at which a client goes offline or is forgotten; None where it is not."""
        forget_after = self._rules.forget_offline_after
        if client.offline_at is not None and forget_after is not None:
            return client.offline_at + forget_after
        return client.deadline

    def apply(self, event: LifecycleEvent, received: float, now: float) -> Ordering:
        """Take one lifecycle event into account, and tell how it stood to what was known.

        Deadlines that are due at `now` must have been fired: see `advance`.
        """
        client = self.clients.get(event.client_id)
        if client is not None:
            session = pack(event.session)
            if follows(event, client, session):
                client.packed_session = session
                self._follow(event, client, received, now)
                self.on_change(event.client_id)
                return _LATER
        if client is None or client.state is _UNKNOWN:
            departed = self.departed.get(event.client_id)
            if departed is not None:
                return self._apply_to_departed(event, departed, received, now)
            client = self.know(event.client_id)
        ordering = judge(event, client, self._rules.ordering) if client.is_known else _LATER
        if ordering.is_later:
            self._accept(event, client, received, now, ordering, was_connected=client.connected)
        else:
            self._disregard(event, client, ordering)
        if ordering is not Ordering.DUPLICATE or client.doubts is not None:
            self.on_change(event.client_id)
        return ordering

    def _follow(self, event: LifecycleEvent, client: Client, received: float, now: float) -> None:
        """Take an event into account that `follows`: as `_accept` would, in half the time."""
        if client.gaps != self.gaps:
            self._verify(client)
        if event.connected:
            client.timestamp, client.version = event.timestamp, event.version
            client.reason = None
            self._come_back(client, received)
        else:
            self.counts.observe_session(event.timestamp - client.timestamp)
            self._count_disconnect(event, client)
            client.timestamp, client.reason = event.timestamp, event.reason
            self._leave(event, client, received, now)

    def know(self, client_id: str) -> Client:
        """The client of this ID; one not heard of before is unknown from now on."""
        client = self.clients.get(client_id)
        if client is None:
            client = self.clients[client_id] = Client(client_id)
            client.gaps = self.gaps
            self._count(State.UNKNOWN, 1, client)
            self._on_enter(client)
            self.on_change(client_id)
        return client

    def suppose_online(self, client_id: str, received: float) -> bool:
        """Take a client for online of which nothing is known, until a lifecycle event of it comes.

        That event overrules this, whatever it says. Returns whether nothing was known.
        """
        client = self.clients.get(client_id)
        if client_id in self.departed or (client and client.state is not State.UNKNOWN):
            return False
        client = self.know(client_id)
        self._verify(client)
        client.since = received
        self.counts.supposed_online += 1
        self._change(client, State.ONLINE, received)
        self.on_change(client_id)
        return True

    def doubt(self, at: float) -> None:
        """Take note of a gap: events from before `at`, wall-clock seconds, may have been lost.

        What is known of each client stays, as the best there is. Those that are online or pending
        are unverified (`PresenceCounts.unverified`) until an event confirms or changes that.
        """
        self.gaps += 1
        self.doubted_at = at
        clients = self.counts.clients
        self.counts.unverified = clients[State.ONLINE] + clients[State.PENDING]

    def is_unverified(self, client: Client) -> bool:
        """Whether a gap leaves a doubt about a client that is online or pending."""
        return client.gaps != self.gaps and client.state in (State.ONLINE, State.PENDING)

    def confirm_online(self, client_id: str, at: float) -> None:
        """Take a sign of life at `at`, wall-clock seconds: an online client is verified by it."""
        client = self.clients.get(client_id)
        if client is None or client.state is not State.ONLINE or at < self.doubted_at:
            return
        if self.is_unverified(client):
            self._verify(client)
            self.on_change(client_id)

    def count_on(self, gaps: int, doubted_at: float) -> None:
        """Count the gaps of an earlier process, too; each client known by now is to, as well."""
        self.gaps += gaps
        self.doubted_at = max(self.doubted_at, doubted_at)

    def restore(
        self,
        client: Client,
        deadline: float | None,
        awaited: Iterable[tuple[ConnectionKey, float]] = (),
    ) -> None:
        """Take a client on that an earlier process kept, without telling anybody.

        It takes the place of one of its ID that is unknown; others must not be known.
        `deadline` is when a pending client goes offline or since when an offline one is so,
        `awaited` which disconnects of replaced connections are awaited, and until when; all on the
        clock of `now`. The gaps must be known before: see `count_on`.
        """
        if client.client_id in self.clients:
            self.counts.clients[State.UNKNOWN] -= 1
        self.clients[client.client_id] = client
        self.counts.clients[client.state] += 1
        self.counts.unverified += self.is_unverified(client)
        if deadline is not None and client.state is State.OFFLINE:
            self._offline.add(client, deadline)
        elif deadline is not None:
            self.deadlines.schedule(deadline, client)
        for key, until in awaited:
            self._awaited.expect(client, key, until)

    def advance(self, now: float, offset: float, most: int | None = None) -> int:
        """Fire every deadline that is due at `now`, in order, or the first `most` of them.

        `offset` is what turns monotonic into wall-clock time. Returns how many fired.
        """
        fired = 0
        for when, item in islice(self.deadlines.due(now), most):
            fired += 1
            if isinstance(item, Replaced):
                self._awaited.miss(item)
                self.on_change(item.client.client_id)
            elif isinstance(item, Client):
                self._go_offline(item, when + offset, when)
                self.on_change(item.client_id)
            elif (client := item.take_expired(when)) is not None:
                self.forget(client.client_id, "expired")
        return fired

    def forget(self, client_id: str, reason: ForgetReason) -> None:
        """Drop a client, with its series; a client not known is none to forget.

        What ordering needs is kept for the clients forgotten last, so that a late or second copy
        of an old event does not bring one back.
        """
        client = self._drop(client_id)
        if client is None:
            return
        self.counts.forgotten[reason] += 1
        if client.is_known:
            self.departed.add(client)
        self._on_forget(client)

    def disown(self, client_id: str) -> None:
        """Drop a client that is still unknown, because no thing stands for it any more."""
        client = self.clients.get(client_id)
        if client is not None and client.state is State.UNKNOWN:
            self._drop(client_id)
            self._on_forget(client)

    def _drop(self, client_id: str) -> Client | None:
        client = self.clients.pop(client_id, None)
        if client is None:
            return None
        self.deadlines.cancel(client)
        self._offline.discard(client)
        self._awaited.forget(client)
        self._verify(client)
        self._count(client.state, -1, client)
        self.on_change(client_id)
        return client

    def _apply_to_departed(
        self, event: LifecycleEvent, departed: Client, received: float, now: float
    ) -> Ordering:
        """Take an event of a forgotten client into account: only a later one brings it back."""
        ordering = judge(event, departed, self._rules.ordering)
        if not ordering.is_later:
            self._disregard(event, departed, ordering)
            self.on_change(event.client_id)
            return ordering
        self.departed.remove(departed.client_id)
        client = self.know(departed.client_id)
        client.timestamp, client.version = departed.timestamp, departed.version
        client.packed_session, client.doubts = departed.packed_session, departed.doubts
        self._accept(event, client, received, now, ordering, was_connected=departed.connected)
        self.on_change(event.client_id)
        return ordering

    def _accept(
        self,
        event: LifecycleEvent,
        client: Client,
        received: float,
        now: float,
        how: Ordering,
        *,
        was_connected: bool,
    ) -> None:
        if how is Ordering.LATER_AFTER_RESET:
            self.counts.version_resets += 1
        self._verify(client)
        if event.connected:
            self._connect(event, client, received, now)
        else:
            self._disconnect(event, client, received, now, was_connected=was_connected)

    def _connect(self, event: LifecycleEvent, client: Client, received: float, now: float) -> None:
        if client.state is _ONLINE and client.is_known:
            self.counts.connections_replaced += 1
            ahead = self._rules.offline_delay
            self._awaited.expect(client, client.key, now + ahead, ahead=ahead)
        _take(event, client)
        client.reason = None
        self._come_back(client, received)

    def _come_back(self, client: Client, received: float) -> None:
        """Let a client be online, whatever it was before."""
        state = client.state
        if state is _PENDING:
            self.counts.flaps_suppressed += 1
            self.deadlines.cancel(client)
            self._enter(client, _ONLINE)
            client.since = client.transition
        elif state is not _ONLINE:
            if state is _OFFLINE and client.since is not None:
                self.counts.offline_duration.observe(received - client.since)
            self._offline.discard(client)
            client.since = received
            self._change(client, _ONLINE, received)

    def _disconnect(
        self,
        event: LifecycleEvent,
        client: Client,
        received: float,
        now: float,
        *,
        was_connected: bool,
    ) -> None:
        if was_connected and same_connection(event, client):
            self.counts.observe_session(event.timestamp - client.timestamp)
        else:
            self.counts.missed["connected"] += 1
        self._count_disconnect(event, client)
        _take(event, client)
        client.reason = event.reason
        if client.state is _ONLINE:
            self._leave(event, client, received, now)
        elif client.state is _UNKNOWN:
            client.since = received
            self._go_offline(client, received, now)

    def _leave(self, event: LifecycleEvent, client: Client, received: float, now: float) -> None:
        """Let an online client be pending, and offline when its delay is over."""
        client.since = received
        self._enter(client, _PENDING)
        delay = self._rules.delay(event.reason)
        if delay > 0:
            self.deadlines.schedule(now + delay, client, ahead=delay)
        else:
            self._go_offline(client, received, now)

    def _disregard(self, event: LifecycleEvent, client: Client, ordering: Ordering) -> None:
        self.counts.ignored[ordering.value] += 1
        if ordering is Ordering.STALE and not event.connected:
            self._count_disconnect(event, client)

    def _count_disconnect(self, event: LifecycleEvent, client: Client) -> None:
        """Count a disconnect once, also one that changes nothing any more."""
        if not self.disconnects.add(event.client_id, event):
            return
        if client.loose_ends is not None:
            self._awaited.arrived(event, client)
        self.counts.count_disconnect(event.reason, client_initiated=event.client_initiated)

    def _verify(self, client: Client) -> None:
        """Let a client be in doubt no longer."""
        self.counts.unverified -= self.is_unverified(client)
        client.gaps = self.gaps

    def _go_offline(self, client: Client, confirmed: float, now: float) -> None:
        if client.gaps != self.gaps:
            self._verify(client)
        self._offline.add(client, now)
        self._change(client, _OFFLINE, confirmed)

    def _change(self, client: Client, state: State, confirmed: float) -> None:
        previous = _ONLINE if client.state is _PENDING else client.state
        since = client.since if client.since is not None else confirmed
        self._enter(client, state)
        client.transition = since
        self.counts.transitions[state] += 1
        self._on_transition(
            client, Transition(confirmed, since, client.client_id, previous, state, client.reason)
        )

    def _enter(self, client: Client, state: State) -> None:
        before, clients, on_count = client.state, self.counts.clients, self.on_count
        clients[before] -= 1
        if on_count is not None:
            on_count(client, before, -1)
        client.state = state
        clients[state] += 1
        if on_count is not None:
            on_count(client, state, 1)

    def _count(self, state: State, change: int, client: Client) -> None:
        self.counts.clients[state] += change
        if self.on_count is not None:
            self.on_count(client, state, change)


def _take(event: LifecycleEvent, client: Client) -> None:
    client.timestamp, client.version, client.session = event.timestamp, event.version, event.session
