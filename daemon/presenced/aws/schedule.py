"""When a snapshot of AWS's record is taken, and whether it settles anything.

The index lags, and what happened just before the subscription is neither in it nor in an event. So
the first snapshot after a start or a gap is provisional, and a second one, begun T after that
(`presence.timestamp_accuracy`), settles what the first left in doubt.
"""

from dataclasses import dataclass

import msgspec

_LEAST_INTERVAL = 600.0
_RETRY_AFTER = 60.0


class PastSnapshots(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of the snapshots of a fleet, for another process that takes the next ones.

    Times are in seconds since the epoch. `began`, `ended` and `things`, their number, are of the
    last complete snapshot, `settled_began` is of the last one that settled; None if there was none.
    `gap_at` is the end of the last gap in the events, 0 if there was none. `first_began` is of the
    first complete snapshot: what was before it is in doubt as after a gap.
    """

    began: float | None = None
    ended: float | None = None
    things: int = 0
    settled_began: float | None = None
    gap_at: float = 0.0
    first_began: float | None = None

    def with_end(
        self, began: float, ended: float, things: int, *, settled: bool
    ) -> "PastSnapshots":
        """Return it with one more complete snapshot."""
        settled_began = max(began, self.settled_began or 0.0) if settled else self.settled_began
        first_began = began if self.first_began is None else self.first_began
        return PastSnapshots(began, ended, things, settled_began, self.gap_at, first_began)

    def with_gap(self, at: float) -> "PastSnapshots":
        """Return it with a gap that ended at `at`."""
        return self if at <= self.gap_at else msgspec.structs.replace(self, gap_at=at)

    def doubtful_since(self, accuracy: float) -> float | None:
        """Return since when all is in doubt; None if a snapshot has settled it.

        `accuracy` is T in seconds.
        """
        if self.settled_began is None:
            return max(self.gap_at, self.first_began or 0.0)
        return None if self.settles(self.gap_at, accuracy) else self.gap_at

    def settles(self, gap_at: float, accuracy: float) -> bool:
        """Return whether a snapshot has settled a gap, T (`accuracy`) or more after its end."""
        return self.settled_began is not None and self.settled_began >= gap_at + accuracy


@dataclass(slots=True)
class SnapshotSchedule:
    """Decides from what has happened; all times are monotonic, in seconds.

    `every` is how often a snapshot is taken, 0 for only at start and after gaps. `settles_after` is
    T. `note_...` report what happens.
    """

    every: float
    settles_after: float
    _doubtful_since: float | None = None
    _provisional_taken: bool = False
    _has_settled: bool = False
    _began: float | None = None
    _not_before: float = 0.0
    _retry_at: float = 0.0

    def resume(self, past: PastSnapshots, offset: float) -> None:
        """Go on after snapshots of other processes; `offset` makes wall-clock of monotonic time."""
        if past.began is None or past.ended is None:
            return
        doubtful_since = past.doubtful_since(self.settles_after)
        self._has_settled = past.settled_began is not None
        self._began, ended = past.began - offset, past.ended - offset
        self._not_before = ended + max(_LEAST_INTERVAL, ended - self._began)
        if doubtful_since is not None:
            self._doubtful_since = doubtful_since - offset
            is_later = self._doubtful_since <= self._began
            self._provisional_taken = is_later and not self.settles(self._began)

    def note_gap(self, now: float) -> None:
        """Events may have been lost until now: at start, and at the end of a gap."""
        self._doubtful_since = now
        self._provisional_taken = False

    def note_begin(self, now: float) -> None:
        """A snapshot begins."""
        self._began = now

    def note_end(self, now: float, *, settled: bool) -> None:
        """A snapshot is complete; `settled` if it was allowed to settle, and the index was up."""
        began = now if self._began is None else self._began
        if self._doubtful_since is not None and self._doubtful_since <= began:
            # Once for each doubt the settling one follows sooner.
            self._provisional_taken = not (settled or self.settles(began))
            if settled:
                self._doubtful_since = None
        self._has_settled = self._has_settled or settled
        self._not_before = now + max(_LEAST_INTERVAL, now - began)

    def note_failure(self, now: float) -> None:
        """A snapshot could not be completed."""
        self._retry_at = now + _RETRY_AFTER

    def settles(self, now: float) -> bool:
        """Return whether a snapshot that begins now settles what is in doubt."""
        return self._doubtful_since is None or now >= self._doubtful_since + self.settles_after

    @property
    def due(self) -> float:
        """When the next snapshot is due; infinity if nothing asks for one."""
        due = float("inf")
        if self._doubtful_since is not None:
            if self._provisional_taken:
                return max(self._doubtful_since + self.settles_after, self._retry_at)
            due = self._doubtful_since
        if self.every and self._has_settled and self._began is not None:
            due = min(due, self._began + self.every)
        return max(due, self._not_before, self._retry_at)
