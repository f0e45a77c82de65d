"""AWS's record of a client, merged with what its events tell.

AWS answers who is connected: in the fleet index (a row of SearchIndex), or for one client (the
answer to a lookup). Either has a time but neither version nor session, and the index lags, so a
row is weighed against the events by time. T is the accuracy of event times; that of a row is exact.
"""

from enum import Enum

import msgspec

from presenced.events.model import LifecycleEvent
from presenced.presence.client import Client, State
from presenced.presence.ordering import Ordering

OPERATIONS = ("SearchIndex", "GetThingConnectivityData", "GetConnection")
"""The operations of AWS that tell who is connected."""

TAKEN_OVER = "DUPLICATE_CLIENTID"
"""The reason of a disconnect whose event time does not tell whether it was before or after the new
connect: it is stamped when the takeover is noticed, up to half an hour later."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """What AWS's record says about one client.

    `timestamp` is when it connected or disconnected, in milliseconds; None if the record does not
    tell, as for a client that never connected. `asked` is when the row was asked for, in seconds
    since the epoch, and `gap_epoch` how many gaps there had been then. A row that `settles`
    verifies the client; a provisional one does not. `operation` is one of `OPERATIONS`. The answer
    to a lookup (`is_answer`) is less than about a second old.
    """

    client_id: str
    connected: bool
    timestamp: int | None
    asked: float
    gap_epoch: int
    operation: str
    reason: str | None = None
    settles: bool = True
    is_answer: bool = False

    def has_presence(self, forget_after: float | None) -> bool:
        """Return whether it tells more than that a client exists.

        It does not if the client never connected, or was offline for longer than `forget_after`
        seconds.
        """
        if self.connected:
            return True
        if self.timestamp is None:
            return False
        return forget_after is None or self.asked - self.timestamp / 1000 <= forget_after

    def is_later_than(self, client: Client, accuracy: int) -> bool:
        """Return whether it is certainly about something later than what is known of a client.

        `accuracy` is that of event times, in milliseconds; the time of an adopted row is exact.
        """
        slack = 0 if client.adopted else accuracy
        return self.timestamp is not None and self.timestamp > client.timestamp + slack

    @property
    def kept_reason(self) -> str | None:
        """The reason that its client has after it.

        That of a takeover is kept for events only: after a row it would mean that the client may
        still be online.
        """
        return None if self.reason == TAKEN_OVER else self.reason

    def note_in(self, client: Client) -> None:
        """Keep it, without its reason, as what is known of a client last in place of an event."""
        asked = round(self.asked * 1000)
        # A clock behind that of AWS puts no time into the future.
        at = asked if self.timestamp is None else min(self.timestamp, asked)
        client.timestamp, client.version, client.packed_session = at, None, None
        client.ambiguous, client.adopted = None, True


class RowDecision(Enum):
    """What follows from a row for a client that is known."""

    ADOPT = "adopt"
    """The row is the newer one."""
    CONFIRM = "confirm"
    """The row says the same as the events."""
    LOOK_UP = "look_up"
    """The row contradicts the events, and only a lookup can tell which is right."""
    IGNORE = "ignore"
    """The row is older than the events, or has no time."""


def decide(row: Row, client: Client, accuracy: int, *, verified: bool, waited: bool) -> RowDecision:
    """Return what follows from a row.

    `accuracy` is T in milliseconds; `waited` if the client has been waiting for this answer to go
    offline or not.
    """
    if row.connected == (client.state is State.ONLINE):
        return RowDecision.CONFIRM
    if waited:
        return RowDecision.ADOPT
    if row.timestamp is None:
        return RowDecision.IGNORE
    taken_over = row.connected and client.reason == TAKEN_OVER
    later_by = row.timestamp - _last_known(client)
    if row.is_answer:
        return RowDecision.IGNORE if later_by < -accuracy and not taken_over else RowDecision.ADOPT
    if verified or taken_over or abs(later_by) <= accuracy:
        return RowDecision.LOOK_UP
    return RowDecision.ADOPT if later_by > 0 else RowDecision.IGNORE


def _last_known(client: Client) -> int:
    """Return the event time of the last event, in milliseconds, or of the sign of life."""
    return client.timestamp if client.has_event else round((client.since or 0.0) * 1000)


def order_after_row(event: LifecycleEvent, client: Client, accuracy: int) -> Ordering:
    """Compare an event with the row that was adopted for its client."""
    older = event.timestamp < client.timestamp - accuracy
    return Ordering.STALE if older else Ordering.LATER


def contradicts(event: LifecycleEvent, client: Client, accuracy: int) -> bool:
    """Return whether only a lookup can tell which is right, an event or the row adopted before."""
    if event.connected == (client.state is State.ONLINE):
        return False
    near = abs(event.timestamp - client.timestamp) <= accuracy
    return near or event.reason == TAKEN_OVER
