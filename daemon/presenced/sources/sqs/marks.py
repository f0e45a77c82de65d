"""Up to which moment everything that entered the queue is here and applied.

A deadline may fire only if no earlier message is left: it may be the connect that cancels it. SQS
cannot be asked for that, but a long poll that comes back empty proves it, because it asks all
servers of the queue ("Amazon SQS short and long polling"). What polls prove, if `began` is when a
poll began:

- An empty answer: the queue was empty at `began`.
- An answer with fewer messages than the poll asked for: nothing is left that is older than the
  earliest of them. SQS may leave out messages that other servers hold; this bound is approximate.
- A full answer proves nothing.

A message that was handed to a poll without reaching this process, because the connection or an
earlier process ended, is in no later answer until its visibility timeout is over. Until then no
poll proves anything.
"""

import math
from collections.abc import Hashable, Sequence
from heapq import heappop, heappush


class Arrival:
    """The messages of one answer; `moment` is when the first of them entered the queue."""

    __slots__ = ("left", "moment")

    def __init__(self, moment: float, left: int) -> None:
        self.moment = moment
        self.left = left

    def __lt__(self, other: "Arrival") -> bool:
        return self.moment < other.moment


class Marks:
    """What the polls of several receivers prove together. All times are in monotonic seconds.

    A process starts at `now`. What is received and not deleted is hidden for `visibility` seconds.
    """

    def __init__(self, now: float, visibility: float) -> None:
        self._visibility = visibility
        self._hidden_until = now + visibility
        # What is proved of each receiver: regarding hidden messages, and regardless of them.
        self._proved: dict[Hashable, float] = {}
        self._seen: dict[Hashable, float] = {}
        # What was proved when the last receiver left.
        self._proved_last = self._seen_last = -math.inf
        self._arrivals: list[Arrival] = []

    @property
    def held_at(self) -> float:
        """The moment after which no deadline is due yet."""
        return min(self._proved_by_polls, self._oldest)

    @property
    def reached(self) -> float:
        """The moment up to which the queue is drained, apart from hidden messages."""
        return min(self._seen_by_polls, self._oldest)

    def join(self, receiver: Hashable) -> None:
        """A receiver is going to poll. What others have proved is true for it, too."""
        self._proved[receiver], self._seen[receiver] = self._proved_by_polls, self._seen_by_polls

    def leave(self, receiver: Hashable) -> None:
        """A receiver polls no more; its last poll was answered, or reported by `lost`."""
        self._proved_last, self._seen_last = self._proved_by_polls, self._seen_by_polls
        self._proved.pop(receiver, None)
        self._seen.pop(receiver, None)

    def answered(
        self, receiver: Hashable, began: float, moments: Sequence[float], *, full: bool
    ) -> Arrival:
        """A poll was answered with messages that entered the queue at these moments.

        Call `finished` with the result once for each message when it is applied.
        """
        earliest = min(moments, default=math.inf)
        if not full:
            mark = earliest if moments else began
            self._seen[receiver] = mark
            if began >= self._hidden_until:
                self._proved[receiver] = mark
        arrival = Arrival(earliest, len(moments))
        if moments:
            heappush(self._arrivals, arrival)
        return arrival

    def finished(self, arrival: Arrival) -> None:
        """A message of an answer is applied."""
        arrival.left -= 1

    def lost(self, now: float) -> None:
        """A poll ended without an answer, which may have had messages."""
        self._hidden_until = now + self._visibility
        proved = self._proved_by_polls
        for receiver in self._proved:
            self._proved[receiver] = proved

    @property
    def _proved_by_polls(self) -> float:
        return min(self._proved.values(), default=self._proved_last)

    @property
    def _seen_by_polls(self) -> float:
        return min(self._seen.values(), default=self._seen_last)

    @property
    def _oldest(self) -> float:
        arrivals = self._arrivals
        while arrivals and arrivals[0].left <= 0:
            heappop(arrivals)
        return arrivals[0].moment if arrivals else math.inf
