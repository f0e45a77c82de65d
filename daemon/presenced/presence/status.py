"""What follows from status messages: docs/explanation/presence.md, "Status topics".

For a client without lifecycle events they are its events, in the order of receipt. For any other
client the lifecycle events decide: a status that contradicts them for longer than the offline delay
leaves the client in doubt, and requests a lookup from AWS.
"""

from typing import Any

import msgspec

from presenced.events.model import StatusEvent
from presenced.presence.client import (
    Client,
    ClientChange,
    Effect,
    EndedConnection,
    State,
    Transition,
)
from presenced.presence.counts import STATUS_OFFLINE
from presenced.presence.deadlines import Deadlines
from presenced.presence.forgetting import ForgottenClients
from presenced.presence.lookups import Lookups
from presenced.presence.transitions import Outcome, Transitions

# As globals: see `State`.
_ONLINE, _OFFLINE, _UNKNOWN = State.ONLINE, State.OFFLINE, State.UNKNOWN


class Contradiction(msgspec.Struct, gc=False, eq=False):
    """A status that says something else than the lifecycle events of its client.

    It is `in_doubt` from the end of the offline delay until the client is verified. It is kept
    after that, so that copies of the status raise no new doubt.
    """

    client: Client
    connected: bool
    deadline: float | None = None
    in_doubt: bool = False


class StatusEvidence:
    """Applies status messages to `clients`, by client ID.

    `contradictions` are those that no later lifecycle event, status or change of the state has
    settled, by client ID.
    """

    def __init__(
        self,
        clients: dict[str, Client],
        forgotten: ForgottenClients,
        deadlines: Deadlines[Any],
        lookups: Lookups,
        states: Transitions,
    ) -> None:
        self.contradictions: dict[str, Contradiction] = {}
        self._clients = clients
        self._forgotten = forgotten
        self._deadlines = deadlines
        self._lookups = lookups
        self._states = states

    def apply(self, event: StatusEvent, received: float, now: float) -> ClientChange | None:
        """Apply a status message; clocks as in `Presence.apply`.

        None if the client was forgotten and has no newer event.
        """
        client = self._clients.get(event.client_id)
        if client is not None and client.has_event:
            return self._compare(event, client, received, now)
        is_new = client is None or client.state is _UNKNOWN
        if is_new and event.client_id in self._forgotten:
            if event.connected:
                self._lookups.want(event.client_id)  # its connect may have been lost
            return None
        before = None if client is None else client.state
        if client is None:
            client = self._clients[event.client_id] = self._states.new_client(event.client_id)
        elif client.status_at is not None and now < client.status_at:
            self._states.counts.ignored["stale"] += 1
            return ClientChange(
                client, before, before, None, event, Effect.STALE, received, changed=False
            )
        is_repeated = client.status_at is not None and not self._states.is_unverified(client)
        client.status_at = now
        self._states.verify(client)
        adopted = event.retained and client.state is _UNKNOWN
        if adopted:
            effect, transition = self._adopt(client, received, now, connected=event.connected)
        elif event.connected:
            effect, transition = self._states.go_online(client, received, received)
        else:
            effect, transition = self._go_offline(client, received, now)
        change = ClientChange(client, before, client.state, transition, event, effect, received)
        change.adopted = adopted
        if before is _ONLINE and client.state is not _ONLINE:
            change.ended = EndedConnection(received)
        # Some clients repeat their status all the time; that need not be written.
        change.changed = not (is_repeated and effect is Effect.NOTED)
        return change

    def is_in_doubt(self, client_id: str) -> bool:
        """Return whether a contradiction has lasted for the offline delay, and is unresolved."""
        contradiction = self.contradictions.get(client_id)
        return contradiction is not None and contradiction.in_doubt

    def settle(self, client_id: str) -> None:
        """Forget a contradiction, if there is one."""
        contradiction = self.contradictions.pop(client_id, None)
        if contradiction is not None:
            self._deadlines.cancel(contradiction)

    def review(self, client: Client) -> None:
        """Compare a contradiction, if there is one, with a state that something else decided.

        Forget it if the state agrees with the status now. End the doubt if the client has been
        verified against the status.
        """
        contradiction = self.contradictions.get(client.client_id)
        if contradiction is None:
            return
        if contradiction.connected == (client.state is _ONLINE):
            self.settle(client.client_id)
        elif not self._states.is_unverified(client):
            contradiction.in_doubt = False

    def doubt(self, contradiction: Contradiction) -> None:
        """Leave a client in doubt whose lifecycle events its status has contradicted for long."""
        contradiction.in_doubt = True
        self._states.counts.status_contradictions[_name(contradiction)] += 1
        self._states.mark_unverified(contradiction.client)
        self._lookups.want(contradiction.client.client_id)

    def _adopt(self, client: Client, received: float, now: float, *, connected: bool) -> Outcome:
        """Give a client the state of a retained message: since when it has it is not known."""
        client.since = received
        if connected:
            client.transition = received
            self._states.enter(client, _ONLINE)
        else:
            client.reason = STATUS_OFFLINE
            self._states.enter(client, _OFFLINE)
            self._states.offline.add(client, now)
        self._states.counts.adopted[client.state] += 1
        return Effect.NOTED, None

    def _go_offline(self, client: Client, received: float, now: float) -> Outcome:
        self._states.set_reason(client, STATUS_OFFLINE)
        if client.state is _ONLINE:
            return self._states.begin_delay(client, received, received, now)
        transition: Transition | None = None
        if client.state is _UNKNOWN:
            client.since = received
            transition = self._states.go_offline(client, received, now)
        return (Effect.NOTED if transition is None else Effect.WENT_OFFLINE), transition

    def _compare(
        self, event: StatusEvent, client: Client, received: float, now: float
    ) -> ClientChange:
        """Compare a status with the state that lifecycle events, or AWS's record, have decided."""
        state = client.state
        if event.connected == (state is _ONLINE):
            self.settle(client.client_id)
        elif client.client_id not in self.contradictions:
            contradiction = Contradiction(client, event.connected)
            self.contradictions[client.client_id] = contradiction
            delay = self._states.rules.delay(None, client.rule)
            self._deadlines.schedule(now + delay, contradiction, ahead=delay)
        return ClientChange(
            client, state, state, None, event, Effect.NOTED, received, changed=False
        )


def _name(contradiction: Contradiction) -> str:
    return "online" if contradiction.connected else "offline"
