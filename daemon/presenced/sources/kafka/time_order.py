"""Merge the messages of partitions into one order by received time.

Kafka orders the records of a partition only. A reader of several partitions that took messages as
they come would have an hour of one partition before the same hour of the next.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from presenced.events.message import Message
from presenced.sources.kafka.end_marks import EndMarks


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class _Lane:
    """The messages of a partition that wait, each with the monotonic time at which it was read."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.marks = EndMarks()
        self.waiting: deque[tuple[float, Message]] = deque()


class TimeOrder:
    """Holds messages back until no earlier one can follow. Times are monotonic, in seconds.

    The next message is the earliest that waits. It is given out once each partition in which none
    waits has been read up to an end that was asked for after that message was read: what follows
    there has entered later. `waiting` is how many messages are held back.
    """

    def __init__(self, positions: Mapping[Place, int]) -> None:
        self.waiting = 0
        self._lanes = {place: _Lane(position) for place, position in positions.items()}
        # Received time and place of the first message of each partition in which one waits.
        self._heads: list[tuple[float, Place]] = []

    @property
    def positions(self) -> Mapping[Place, int]:
        """The offset of the next record of each partition."""
        return {place: lane.position for place, lane in self._lanes.items()}

    def position(self, place: Place) -> int:
        """Return the offset of the next record of a partition."""
        return self._lanes[place].position

    @property
    def busy(self) -> Sequence[Place]:
        """The partitions in which messages wait."""
        return [place for _, place in self._heads]

    @property
    def reached(self) -> float:
        """The time up to which all that had entered was read and given out."""
        return -math.inf if self._heads else self._idle_since()

    def add(self, place: Place, messages: Sequence[Message], read_at: float) -> None:
        """Take what was read from a partition."""
        lane = self._lanes[place]
        if not lane.waiting:
            heapq.heappush(self._heads, (messages[0].received, place))
        lane.waiting.extend((read_at, message) for message in messages)
        lane.position = messages[-1].offset + 1
        self.waiting += len(messages)

    def move(self, place: Place, position: int) -> None:
        """Take note that there is nothing before an offset that has not been read."""
        self._lanes[place].position = position

    def add_end(self, place: Place, asked_at: float, end: int) -> None:
        """Take the end of a partition, which was asked for at a time."""
        self._lanes[place].marks.add(asked_at, end, self._lanes[place].position)

    def take(self) -> list[Message]:
        """Return the messages that no earlier one can precede."""
        taken: list[Message] = []
        idle_since = self._idle_since()
        while self._heads:
            lane = self._lanes[self._heads[0][1]]
            if lane.waiting[0][0] > idle_since:
                break
            taken.append(self._pop())
            if not lane.waiting:
                idle_since = min(idle_since, _reached(lane))
        return taken

    def drain(self) -> list[Message]:
        """Return all that waits, because nothing more will be read."""
        return [self._pop() for _ in range(self.waiting)]

    def _pop(self) -> Message:
        place = self._heads[0][1]
        lane = self._lanes[place]
        _, message = lane.waiting.popleft()
        if lane.waiting:
            heapq.heapreplace(self._heads, (lane.waiting[0][1].received, place))
        else:
            heapq.heappop(self._heads)
        self.waiting -= 1
        return message

    def _idle_since(self) -> float:
        """Return up to when nothing can follow in those partitions in which nothing waits."""
        lanes: Iterable[_Lane] = self._lanes.values()
        return min((_reached(lane) for lane in lanes if not lane.waiting), default=math.inf)


def _reached(lane: _Lane) -> float:
    lane.marks.advance(lane.position)
    return lane.marks.reached
