"""Why the state of a client is in doubt.

Presence keeps only that it is: a client that is unverified costs no memory for the cause. The cause
is found from the last gap and from what is remembered of the client.
"""

from enum import StrEnum
from typing import NamedTuple

from presenced.presence import Client, Effect, RecordEffect
from presenced.sources.gaps import LastGap
from presenced.web.api.history import ClientHistory


class DoubtCause(StrEnum):
    """What leaves a client unverified."""

    GAP = "gap"
    """Events may have been lost."""
    NO_LOOKUP = "no_lookup"
    """The lookup due before it went offline could not be made."""
    FIRST_DISCONNECT = "first_disconnect"
    """Its first event is a disconnect: a connect after it may have been before presenced began to
    receive events."""
    STATUS = "status"
    """Its status topic contradicts its lifecycle events."""
    PROVISIONAL = "provisional"
    """AWS's record was read so soon after the start that what happened just before is missing."""


class Doubt(NamedTuple):
    """The cause, and the gap if that is the cause; None for a gap before the start."""

    cause: DoubtCause
    gap: LastGap | None = None


def doubt_of(
    client: Client, history: ClientHistory, gap: LastGap | None, *, contradicted: bool
) -> Doubt:
    """Return why a client is unverified; `gap` is the last one since the start.

    `contradicted` is whether its status topic says something else than its lifecycle events.
    """
    if contradicted:
        return Doubt(DoubtCause.STATUS)
    record, decided = history.record, history.decided_for(client)
    gap_at = gap.at if gap else 0.0
    if record is not None and record.effect is RecordEffect.UNANSWERED and record.time > gap_at:
        return Doubt(DoubtCause.NO_LOOKUP)
    if decided is not None and decided.effect is Effect.WENT_OFFLINE and decided.received > gap_at:
        return Doubt(DoubtCause.FIRST_DISCONNECT)
    if client.adopted and gap is None:
        return Doubt(DoubtCause.PROVISIONAL)
    return Doubt(DoubtCause.GAP, gap)
