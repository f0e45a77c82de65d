"""Times in which events may have been lost, whatever the source, and what follows from them."""

from enum import StrEnum
from typing import NamedTuple

from presenced.presence import Presence
from presenced.system.log import get_logger
from presenced.system.loop import Clocks


class GapReason(StrEnum):
    """Why messages may have been lost."""

    SESSION_LOST = "session_lost"
    SESSION_EXPIRED = "session_expired"
    CLEAN_SESSION = "clean_session"
    FILTERS_CHANGED = "filters_changed"
    RATE_LIMIT = "rate_limit"
    BACKLOG_FULL = "backlog_full"
    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    STATE_LOST = "state_lost"


class Gap(NamedTuple):
    """A time in which messages may have been lost, and its length in seconds."""

    reason: GapReason
    seconds: float


class LastGap(NamedTuple):
    """The gap that leaves clients unverified: its connection, reason, and time, epoch seconds.

    The connection is that of MQTT, by client ID, or the partition of Kafka.
    """

    connection: str
    reason: GapReason
    at: float


class Gaps:
    """The gaps of one fleet, which leave all its clients unverified.

    `counts` has the gaps by reason. `last` is the last one in which lifecycle events may have been
    lost, None before the first.
    """

    def __init__(self, presence: Presence, clocks: Clocks) -> None:
        self.counts = dict.fromkeys(GapReason, 0)
        self.last: LastGap | None = None
        self._presence = presence
        self._clocks = clocks
        self._log = get_logger("presenced.gaps")

    def report(self, connection: str, gap: Gap, *, presence: bool = True) -> None:
        """Count and log a gap; `presence` is whether lifecycle events may be missing."""
        self.counts[gap.reason] += 1
        if presence:
            self.note(connection, gap.reason)
        self._log.warning(
            "events may have been lost",
            connection=connection,
            reason=gap.reason.value,
            gap_seconds=round(gap.seconds, 1),
            unverified=self._presence.counts.unverified_connected,
        )

    def note(self, connection: str, reason: GapReason) -> None:
        """Leave all clients unverified by a gap that has not ended, and is reported when it has."""
        at = self._clocks.wall()
        self.last = LastGap(connection, reason, at)
        self._presence.note_gap(at)
