"""Move clients between states, and count it: the table of states in docs/explanation/presence.md.

`received` and `since` are wall-clock times in seconds since the epoch, `now` is monotonic time in
seconds.
"""

from collections.abc import Iterable
from typing import Any

from presenced.events.model import LifecycleEvent
from presenced.presence.client import (
    Client,
    Effect,
    EndedConnection,
    PackedSession,
    RecordEffect,
    State,
    Transition,
)
from presenced.presence.client_rules import ClientRule, ClientRules
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.disconnects import AwaitedDisconnects, CountedDisconnects
from presenced.presence.forgetting import OfflineQueues
from presenced.presence.lookups import LOOKUP_TIMEOUT, Lookups, OfflineDecision
from presenced.presence.ordering import PresenceRules
from presenced.presence.record import TAKEN_OVER, Row

# As globals: see `State`.
_ONLINE, _PENDING, _OFFLINE, _UNKNOWN = State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN
_WENT_ONLINE, _BEGAN_DELAY = Effect.WENT_ONLINE, Effect.BEGAN_DELAY
_FLAP_SUPPRESSED = Effect.FLAP_SUPPRESSED

_CLOCK_ERROR = 1.0
"""By how many seconds AWS's clock is usually ahead of this machine's at most. If it is more, a
client waits for its lookup once more."""

Outcome = tuple[Effect, Transition | None]
"""What an event did, and the transition that it led to."""


class Transitions:
    """The moves of single clients. `gap_epoch` is how many gaps there have been.

    A client whose own `gap_epoch` is another one is unverified, unless it is unknown.
    """

    def __init__(
        self,
        rules: PresenceRules,
        counts: PresenceCounts,
        deadlines: Deadlines[Any],
        disconnects: CountedDisconnects,
        lookups: Lookups,
    ) -> None:
        self.rules = rules
        self.counts = counts
        self.awaited = AwaitedDisconnects(deadlines, counts)
        self.offline = OfflineQueues(deadlines, rules)
        self.gap_epoch = 0
        self._deadlines = deadlines
        self._disconnects = disconnects
        self._lookups = lookups
        self._client_rules = ClientRules(rules.client_rules)

    def use_rules(self, rules: PresenceRules, clients: Iterable[Client]) -> None:
        """Replace the rules, also those of the clients, which are all that are known."""
        before, self.rules = self.rules, rules
        self.offline.use_rules(rules)
        if rules.client_rules != before.client_rules:
            self._client_rules = ClientRules(rules.client_rules)
            for client in clients:
                self.offline.use_rule(client, self._client_rules.find(client.client_id))

    def find_rule(self, client_id: str) -> ClientRule | None:
        """Return what is different for a client, None for most."""
        return self._client_rules.find(client_id)

    def new_client(self, client_id: str) -> Client:
        """Return a new client in the state unknown, and count it."""
        self.counts.clients[_UNKNOWN] += 1
        return Client(client_id, gap_epoch=self.gap_epoch, rule=self.find_rule(client_id))

    def connect(
        self,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
    ) -> Outcome:
        """Apply an accepted connect."""
        replaces = client.connected and not client.adopted
        if replaces:
            self.counts.connections_replaced += 1
            ahead = self.rules.offline_delay
            self.awaited.expect(client, client.stamp, now + ahead, ahead=ahead)
        client.timestamp, client.version = event.timestamp, event.version
        client.packed_session, client.adopted = session, False
        effect, transition = self.go_online(client, self.began(event.timestamp, received), received)
        return Effect.CONNECTION_REPLACED if replaces else effect, transition

    def disconnect(
        self,
        event: LifecycleEvent,
        client: Client,
        session: PackedSession,
        received: float,
        now: float,
    ) -> Outcome:
        """Apply an accepted disconnect, after `end_connection`."""
        self.set_reason(client, event.reason)
        if not (client.adopted and event.reason == TAKEN_OVER):
            client.timestamp, client.version = event.timestamp, event.version
            client.packed_session, client.adopted = session, False
        since = self.began(event.timestamp, received)
        if client.state is _ONLINE:
            return self.begin_delay(client, since, received, now)
        if client.state is _UNKNOWN:
            client.since = since
            return Effect.WENT_OFFLINE, self.go_offline(client, received, now)
        return Effect.NOTED, None

    def end_connection(
        self, event: LifecycleEvent, client: Client, received: float, *, is_own: bool = True
    ) -> EndedConnection | None:
        """Count an accepted disconnect; `is_own` if it ends the connection known last.

        `client` must not have the event yet. None if it has been counted before.
        """
        if not is_own:
            self.counts.missed["connected"] += 1
            return self.count_disconnect(event, client, received)
        seconds = (event.timestamp - client.timestamp) / 1000
        self.counts.session_duration.observe(seconds)
        return self.count_disconnect(event, client, received, seconds)

    def count_disconnect(
        self,
        event: LifecycleEvent,
        client: Client,
        received: float,
        seconds: float | None = None,
    ) -> EndedConnection | None:
        """Count a disconnect once, even if it changes nothing any more.

        `seconds` is how long the connection lasted, if that is known. None if it has been counted
        before.
        """
        if not self._disconnects.add(event.client_id, event):
            return None
        if client.replaced:
            settled = self.awaited.settle(event, client)
            seconds = settled if seconds is None else seconds
        self.counts.count_disconnect(event.reason, client_initiated=event.client_initiated)
        at = self.began(event.timestamp, received)
        return EndedConnection(at, event.reason == TAKEN_OVER, seconds)

    def began(self, timestamp: int, received: float) -> float:
        """Return when the state that an event led to began, in seconds since the epoch.

        That is the received time, because event times are approximate. For an event that arrived
        more than `timestamp_accuracy` late, it is the event time.
        """
        late = received * 1000 - timestamp > self.rules.ordering.timestamp_accuracy
        return timestamp / 1000 if late else received

    def go_online(self, client: Client, since: float, received: float) -> Outcome:
        """Transition to online from any state."""
        state, reason, client.reason = client.state, client.reason, None
        if state is _PENDING:
            self.counts.flaps_suppressed += 1
            self.end_delay(client)
            return _FLAP_SUPPRESSED, None
        if state is _ONLINE:
            return Effect.NOTED, None
        if state is _OFFLINE:
            self.counts.count_offline(reason, -1)
            if client.since is not None:
                self.counts.offline_duration.observe(since - client.since)
        self.offline.discard(client)
        client.since = since
        return _WENT_ONLINE, self.change(client, _ONLINE, received)

    def end_delay(self, client: Client) -> None:
        """Make a pending client online again, as if it had not disconnected."""
        self._deadlines.cancel(client)
        self._lookups.settle(client.client_id)
        self.enter(client, _ONLINE)
        client.since = client.transition

    def begin_delay(self, client: Client, since: float, received: float, now: float) -> Outcome:
        """Make an online client pending, and schedule when it goes offline."""
        client.since = since
        self.enter(client, _PENDING)
        delay, asks = self.rules.delay(client.reason, client.rule), self._lookups.are_made
        if asks and client.reason == TAKEN_OVER:
            self.mark_unverified(client)  # the connect that took over may have been lost
        if delay > 0 or asks:
            self._deadlines.schedule(now + delay, client, ahead=delay)
            return _BEGAN_DELAY, None
        return Effect.WENT_OFFLINE, self.go_offline(client, received, now)

    def end_of_delay(
        self, client: Client, confirmed: float, now: float
    ) -> tuple[Transition | None, RecordEffect | None]:
        """Take a pending client offline, unless AWS is to be asked first.

        Without an answer, a client that AWS's record showed online stays so after a takeover: the
        disconnect may be that of the connection before.
        """
        due = self._lookups.before_offline(client, now, verified=not self.is_unverified(client))
        if due is OfflineDecision.WAIT:
            self._deadlines.schedule(now + LOOKUP_TIMEOUT, client, ahead=LOOKUP_TIMEOUT)
            return None, RecordEffect.ASKED
        effect = None
        if due is OfflineDecision.GO_OFFLINE_UNVERIFIED:
            self.mark_unverified(client)
            self._lookups.want(client.client_id)  # when the budget allows it
            effect = RecordEffect.UNANSWERED
        if client.adopted and client.reason == TAKEN_OVER:
            self.end_delay(client)
            return None, effect
        return self.go_offline(client, confirmed, now), effect

    def end_now(self, client: Client, now: float) -> None:
        """Make the deadline of a pending client due at the monotonic time `now`."""
        self._deadlines.schedule(now, client)

    def confirm_offline(self, client: Client, row: Row, now: float) -> Transition | None:
        """Take a pending client offline because AWS's record says so.

        If it has connected and disconnected again meanwhile, its delay begins anew with that.
        """
        self._deadlines.cancel(client)
        if row.timestamp is not None and client.since is not None:
            since = min(row.timestamp / 1000, row.asked)
            left = self.rules.delay(row.reason, client.rule) - (row.asked - since)
            if left > 0 and since > client.since + _CLOCK_ERROR:
                client.since = since
                self._deadlines.schedule(now + left, client, ahead=left)
                return None
        return self.go_offline(client, row.asked, now)

    def adopt(self, client: Client, row: Row, now: float) -> None:
        """Give a client without events the state of a row: no transition, no duration.

        For one that is offline, `transition` stays None: nothing tells whether it is in use.
        """
        self.note_row(client, row)
        client.since = client.timestamp / 1000
        age = row.asked - client.since
        left = self.rules.delay(row.reason, client.rule) - age
        if row.connected:
            self.enter(client, _ONLINE)
        elif left > 0:
            self.enter(client, _PENDING)
            self._deadlines.schedule(now + left, client, ahead=left)
        else:
            self.enter(client, _OFFLINE)
            self.offline.add(client, now - age)
        client.transition = None if client.state is _OFFLINE else client.since
        self.counts.adopted[client.state] += 1
        if row.settles:
            self.verify(client, row.gap_epoch)
        else:
            self.mark_unverified(client)

    def correct(self, client: Client, row: Row, now: float) -> Transition | None:
        """Change the state of a client to that of a row."""
        self.note_row(client, row)
        self.counts.corrections[_ONLINE if row.connected else _OFFLINE, row.operation] += 1
        since = client.timestamp / 1000
        if row.connected and client.state is _PENDING:
            self.end_delay(client)
            return None
        if row.connected:
            return self.go_online(client, since, row.asked)[1]
        client.since = since
        left = self.rules.delay(row.reason, client.rule) - (row.asked - since)
        if left <= 0:
            return self.go_offline(client, row.asked, now)
        self.enter(client, _PENDING)
        self._deadlines.schedule(now + left, client, ahead=left)
        return None

    def go_offline(self, client: Client, confirmed: float, now: float) -> Transition:
        """Transition to offline from any state."""
        self.offline.add(client, now)
        return self.change(client, _OFFLINE, confirmed)

    def change(self, client: Client, state: State, confirmed: float) -> Transition:
        """Make a transition to online or offline, begun at `client.since`."""
        previous = _ONLINE if client.state is _PENDING else client.state
        since = client.since if client.since is not None else confirmed
        self.enter(client, state)
        client.transition = since
        self.counts.transitions[state] += 1
        return Transition(confirmed, since, client.client_id, previous, state, client.reason)

    def enter(self, client: Client, state: State) -> None:
        """Change the state and the totals; `go_online` alone takes a client out of offline."""
        counts, before = self.counts, client.state
        counts.clients[before] -= 1
        counts.clients[state] += 1
        client.state = state
        if state is _OFFLINE:
            counts.count_offline(client.reason, 1)
        if client.gap_epoch != self.gap_epoch:
            counts.unverified[before] -= 1
            counts.unverified[state] += 1

    def set_reason(self, client: Client, reason: str | None) -> None:
        """Change the reason of a client's last disconnect, and the totals."""
        if client.state is _OFFLINE:
            self.counts.count_offline(client.reason, -1)
            self.counts.count_offline(reason, 1)
        client.reason = reason

    def note_row(self, client: Client, row: Row) -> None:
        """Keep a row as what is known of a client last, in place of an event."""
        row.note_in(client)
        self.set_reason(client, row.kept_reason)

    def is_unverified(self, client: Client) -> bool:
        """Return whether a gap, or a lookup that was not made, leaves a doubt about a client."""
        return client.gap_epoch != self.gap_epoch and client.state is not _UNKNOWN

    def verify(self, client: Client, epoch: int | None = None) -> None:
        """Remove the doubt about a client; `epoch` is how many gaps there were when it was."""
        current = self.gap_epoch if epoch is None else max(epoch, client.gap_epoch)
        self._set_epoch(client, current)

    def mark_unverified(self, client: Client) -> None:
        """Leave a client unverified."""
        self._set_epoch(client, self.gap_epoch - 1)

    def set_unverified(self, client: Client, *, unverified: bool) -> None:
        """Verify a client, or leave it unverified."""
        self._set_epoch(client, self.gap_epoch - unverified)

    def _set_epoch(self, client: Client, epoch: int) -> None:
        current = self.gap_epoch
        self.counts.unverified[client.state] += (epoch != current) - (client.gap_epoch != current)
        client.gap_epoch = epoch
