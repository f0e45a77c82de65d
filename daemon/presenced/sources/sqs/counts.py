"""What is counted of the messages of a queue."""

from collections import deque

_RECENT = 60.0


class SqsCounts:
    """How many messages there were by what became of them, and how old they were.

    `messages` counts each one once when it leaves this process: `deleted` after its effect was
    kept; `poison`, deleted because it has no topic; `returned` to the queue when the daemon
    stopped; `not_deleted`, applied, but SQS refused to delete it, so it comes again. `redelivered`
    counts those that were received before, by this daemon or another program.
    """

    def __init__(self) -> None:
        self.messages = {"deleted": 0, "poison": 0, "returned": 0, "not_deleted": 0}
        self.redelivered = 0
        # Received at, and age: none is younger than one that came later.
        self._ages: deque[tuple[float, float]] = deque()

    def note_age(self, now: float, age: float) -> None:
        """Note how many seconds a message had been in the queue that is received now."""
        while self._ages and self._ages[-1][1] <= age:
            self._ages.pop()
        self._ages.append((now, age))
        self._drop_old(now)

    def oldest_age(self, now: float) -> float:
        """Return the age of the oldest message that was received in the last minute; 0 if none."""
        self._drop_old(now)
        return self._ages[0][1] if self._ages else 0.0

    def _drop_old(self, now: float) -> None:
        while self._ages and self._ages[0][0] < now - _RECENT:
            self._ages.popleft()
