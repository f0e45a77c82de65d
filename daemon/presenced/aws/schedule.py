"""When a snapshot of AWS's record is taken, and whether it settles anything.

The index lags, and what happened just before the subscription is neither in it nor in an event. So
the first snapshot after a start or a gap is provisional, and a second one, begun T after that
(`presence.timestamp_accuracy`), settles what the first left in doubt.
"""

from dataclasses import dataclass

_LEAST_INTERVAL = 600.0
_RETRY_AFTER = 60.0


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
