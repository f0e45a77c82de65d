"""Merge AWS's record of who is connected into the presence of clients.

`record.py` decides what follows from a row; here it is applied.
"""

from presenced.events.model import LifecycleEvent
from presenced.presence.client import Client, ClientChange, RecordEffect, State
from presenced.presence.forgetting import ForgottenClients
from presenced.presence.lookups import Lookups
from presenced.presence.record import Row, RowDecision, decide
from presenced.presence.status import StatusEvidence
from presenced.presence.transitions import Transitions

# As globals: see `State`.
_PENDING, _UNKNOWN = State.PENDING, State.UNKNOWN


class RecordMerger:
    """Applies rows and answers of AWS to `clients`, by client ID."""

    def __init__(
        self,
        clients: dict[str, Client],
        forgotten: ForgottenClients,
        lookups: Lookups,
        states: Transitions,
        status: StatusEvidence,
    ) -> None:
        self._clients = clients
        self._forgotten = forgotten
        self._lookups = lookups
        self._states = states
        self._status = status

    def merge(
        self, row: Row, now: float, event: LifecycleEvent | None = None
    ) -> ClientChange | None:
        """Merge what AWS's record says about a client; None if that changes nothing.

        `event` is the last one of the client that was accepted after the row was asked for. It
        beats the row if it is stamped later than T before that, or not at all.
        """
        accuracy = self._states.rules.ordering.timestamp_accuracy
        if event and (event.untimed or event.timestamp > row.asked * 1000 - accuracy):
            return None
        waited = row.is_answer and self._lookups.settle(row.client_id)
        client = self._clients.get(row.client_id)
        if client is None or client.state is _UNKNOWN:
            return self._adopt_unknown(row, client, now)
        verified = event is None and not self._states.is_unverified(client)
        decision = decide(row, client, accuracy, verified=verified, waited=waited)
        if decision is RowDecision.LOOK_UP:
            self._lookups.want(row.client_id)
            return None
        if decision is RowDecision.IGNORE:
            return None
        return self._apply(row, client, decision, now, waited=waited)

    def _apply(
        self, row: Row, client: Client, decision: RowDecision, now: float, *, waited: bool
    ) -> ClientChange | None:
        """Adopt a row or let it confirm a state; None if nothing changes."""
        before, known = client.state, (client.gap_epoch, client.timestamp)
        transition, effect = None, None
        if decision is RowDecision.ADOPT:
            self._states.counts.offline_prevented += waited
            effect = RecordEffect.OFFLINE_PREVENTED if waited else RecordEffect.CORRECTED
            transition = self._states.correct(client, row, now)
        elif waited:
            effect = RecordEffect.OFFLINE_CONFIRMED
            transition = self._states.confirm_offline(client, row, now)
        elif row.is_later_than(client, self._states.rules.ordering.timestamp_accuracy):
            self._states.note_row(client, row)  # the same state, of a later connection
        if row.settles:
            self._states.verify(client, row.gap_epoch)
        self._status.review(client)
        if effect is None and (client.gap_epoch, client.timestamp) == known:
            return None
        return ClientChange(
            client,
            before,
            client.state,
            transition,
            received=row.asked,
            record=effect,
            operation=row.operation,
        )

    def give_up_lookup(self, client_id: str, now: float) -> None:
        """End a client's wait for its lookup at the monotonic time `now`."""
        client = self._clients.get(client_id)
        if client is not None and self._lookups.is_awaited(client_id):
            self._states.end_now(client, now)

    def _adopt_unknown(self, row: Row, client: Client | None, now: float) -> ClientChange | None:
        """Take over the state of a client without events; that is no transition."""
        rule = self._states.find_rule(row.client_id)
        if not row.has_presence(self._states.rules.forget_after(rule)):
            if client is not None:
                return None
            self._states.counts.adopted[_UNKNOWN] += 1
            return ClientChange(self._add(row.client_id), None, _UNKNOWN)
        before = None if client is None else client.state
        client = client or self._add(row.client_id)
        self._forgotten.pop(row.client_id, None)
        self._states.adopt(client, row, now)
        return ClientChange(
            client,
            before,
            client.state,
            received=row.asked,
            adopted=True,
            record=RecordEffect.ADOPTED,
            operation=row.operation,
        )

    def _add(self, client_id: str) -> Client:
        client = self._clients[client_id] = self._states.new_client(client_id)
        return client
