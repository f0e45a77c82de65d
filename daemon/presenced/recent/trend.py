"""The numbers of the fleet minute by minute."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, inf
from operator import attrgetter
from statistics import mean, median

import msgspec

from presenced.presence import State, Transition
from presenced.presence.counts import reason_key

MINUTE = 60
MAX_MINUTES = 25 * 60
_NEAR = 2 * MINUTE
_WHOLE = -1

_OFFLINE = State.OFFLINE  # as a global: see `State`
_at = attrgetter("at")


class TrendMinute(msgspec.Struct, frozen=True):
    """How many clients are in each state at the beginning of a minute, in seconds since the epoch.

    `to_online` and `to_offline` are the transitions since the one before, `reasons` those of the
    latter, as `PresenceCounts.offline_by_reason` names them.
    """

    at: int
    online: int
    pending: int
    offline: int
    to_online: int
    to_offline: int
    reasons: dict[str, int]

    @property
    def share_online(self) -> float | None:
        """The share of known clients that are online or pending; None if there are none."""
        return share_online(self.online + self.pending, self.offline)


def share_online(online: int, offline: int) -> float | None:
    """Return the share of clients that are online; None without clients."""
    return online / (online + offline) if online + offline else None


class Trend:
    """The last `MAX_MINUTES` minutes, less those in which presenced did not run.

    `unsaved` has the times that were added or removed, as in `RecentTransitions`.
    """

    def __init__(self) -> None:
        self.unsaved: set[int] | None = None
        self._minutes: list[TrendMinute] = []
        # The minute in which samples began or resumed; None while there are none.
        self._partial: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._to_online = self._to_offline = 0
        self._reasons: dict[str, int] = {}

    def count(self, transitions: Sequence[Transition]) -> None:
        """Count transitions."""
        offline = [each.reason for each in transitions if each.state is _OFFLINE]
        self._to_offline += len(offline)
        self._to_online += len(transitions) - len(offline)
        for reason, count in Counter(offline).items():
            key = reason_key(reason)
            self._reasons[key] = self._reasons.get(key, 0) + count

    def sample(self, now: float, clients: Mapping[State, int]) -> None:
        """Add the minute that has begun, if it is not there; `now` is wall-clock time.

        Without clients there is nothing to add. The first minute with clients is not added: it had
        begun before, and the clients that are known in the middle of it, such as the first ones
        that connect after a start, are not those at its beginning.
        """
        at = int(now) // MINUTE * MINUTE
        online, pending, offline = (
            clients[state] for state in (State.ONLINE, State.PENDING, State.OFFLINE)
        )
        if online + pending + offline == 0:
            self._partial = None
            return
        if self._partial is None:
            self._partial = at
        if at == self._partial or (self._minutes and at <= self._minutes[-1].at < at + _NEAR):
            return
        self._partial = _WHOLE
        # Minutes in the future are from before the clock was set back.
        kept = bisect_left(self._minutes, at, key=_at)
        removed = [*self._minutes[kept:], *self._minutes[: max(0, kept + 1 - MAX_MINUTES)]]
        minute = TrendMinute(
            at, online, pending, offline, self._to_online, self._to_offline, self._reasons
        )
        self._begin()
        self._minutes = [*self._minutes[max(0, kept + 1 - MAX_MINUTES) : kept], minute]
        if self.unsaved is not None:
            self.unsaved.update(each.at for each in removed)
            self.unsaved.add(at)

    def get(self, at: int) -> TrendMinute | None:
        """Return the minute that began at a time; None if it is not there."""
        index = bisect_left(self._minutes, at, key=_at)
        found = self._minutes[index] if index < len(self._minutes) else None
        return found if found is not None and found.at == at else None

    def near(self, at: float) -> TrendMinute | None:
        """Return the last minute that had begun at a time, if that was at most two minutes ago."""
        found = self.last_before(at)
        return found if found is not None and at - found.at <= _NEAR else None

    def last_before(self, at: float) -> TrendMinute | None:
        """Return the last minute that had begun at a time, however long ago that was."""
        index = bisect_right(self._minutes, at, key=_at)
        return self._minutes[index - 1] if index else None

    def since(self, at: float, until: float = inf) -> Sequence[TrendMinute]:
        """Return the minutes that began at a time or later, and not after another, oldest first.

        There may be minutes in the future, until the first one after the clock was set back.
        """
        first = bisect_left(self._minutes, at, key=_at)
        return self._minutes[first : bisect_right(self._minutes, until, key=_at)]

    def usual(self, state: State, at: float) -> float:
        """Return how many transitions to a state a minute has: the median of the hour before `at`.

        Where less than every second minute has any, it is the mean of the three quarters of the
        minutes with the fewest: an incident of a quarter of an hour is not usual. 0 without a sixth
        of an hour, which would make what happens after a start usual.
        """
        minutes = self._between(at - 60 * MINUTE, at)
        if len(minutes) < 10:
            return 0.0
        is_offline = state is _OFFLINE
        counts = sorted(each.to_offline if is_offline else each.to_online for each in minutes)
        return median(counts) or mean(counts[: ceil(0.75 * len(counts))])

    def reasons(self, begin: float, end: float) -> Counter[str]:
        """Return for which reasons clients went offline between two times."""
        total: Counter[str] = Counter()
        for minute in self._between(begin, end):
            for reason, count in minute.reasons.items():
                total[reason] += count
        return total

    def _between(self, begin: float, end: float) -> Sequence[TrendMinute]:
        """Return the minutes that began after one time, and not after another."""
        first, last = (bisect_right(self._minutes, at, key=_at) for at in (begin, end))
        return self._minutes[first:last]

    def restore(self, minutes: Iterable[TrendMinute]) -> None:
        """Take over the minutes of an earlier process, oldest first."""
        self._minutes = list(minutes)[-MAX_MINUTES:]
