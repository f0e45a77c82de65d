"""A partition that the worker owns, and what the source asks of its fleet."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple, Protocol

from presenced.events.message import Message
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.gaps import GapReason
from presenced.sources.inbox import Inbox
from presenced.sources.kafka.end_marks import EndMarks
from presenced.sources.kafka.holes import HoleCheck
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.system.loop import Clocks

Record = tuple[bytes | None, bytes | None]
"""Key and value of a record of a state topic."""

GLOBAL_OWNER = 0
"""The partition whose owner applies the events of the global topic."""


POSITION_KEY, GLOBAL_POSITION_KEY = b'["position"]', b'["global_position"]'
"""Keys of the records whose values are the offset of the next event, in decimal.

They are in the state topic beside the rows of the same transaction, that of the global topic in the
partition of its owner. The positions of the group are committed too, as proof of the membership;
but Kafka does not tell them while any transaction with them is open, and after a crash of a broker
that may be for ever.
"""

TOPICS_KEY = b'["topics"]'
"""Key of the record whose value is the IDs of the topics that a partition was restored from.

Every transaction writes it. The positions are offsets in these topics. If it names another state
topic than the one that it is in, that one was created anew while a worker ran, and has only a part
of the state.
"""


class Unwritten(NamedTuple):
    """What one transaction is to write of one partition.

    `records` are values by key, for the partition of the state topic; None is a tombstone.
    `position` is the offset of the next event, up to which they are the effect. `global_records`
    are for the global state topic.
    """

    records: dict[bytes, bytes | None]
    position: int
    global_records: Mapping[bytes, bytes | None] = MappingProxyType({})


class PartitionStore(Protocol):
    """The changes of one fleet, as records of the state topic; used on the event loop."""

    position: int
    """The offset of the next event to apply."""

    global_position: int | None
    """That in the global topic; None if it is not known, and in partitions without its events."""

    def take(self) -> Unwritten | None:
        """Return what has changed since the last call; None if nothing has.

        Each call is followed by `written` or `failed`, before the next one.
        """

    def written(self, unwritten: Unwritten) -> None:
        """Take note that it is committed."""

    def failed(self, unwritten: Unwritten) -> None:
        """Take note that it is not committed: the next `take` returns it again."""


class PartitionFleet(Protocol):
    """The fleet of one partition, used on the event loop except for `restore`."""

    @property
    def inbox(self) -> Inbox:
        """Where its events go."""

    @property
    def store(self) -> PartitionStore:
        """What it writes."""

    def restore(self, records: Iterable[Record]) -> bool:
        """Restore the fleet from the records of its state, in a thread that alone uses it.

        Returns whether there was any state. Raises what `records` raises.
        """

    def restored(self) -> None:
        """Take over what `restore` has restored; events follow."""

    def replace_registry(self, records: Iterable[Record]) -> None:
        """Take over thing types and groups, from records of the global state topic."""

    def apply_global(self, messages: Sequence[Message], position: int) -> None:
        """Apply events of the global topic, up to the offset `position`."""

    def write_whole(self) -> None:
        """Let the store return everything once more, because what was written is gone."""

    def note_gap(self, reason: GapReason) -> None:
        """Take note that events are missing."""

    def show(self) -> None:
        """Let the fleet be seen from now on: all that had happened before has been applied."""

    def stop(self) -> None:
        """Show the fleet no more, apply no more events, and fire no more deadlines."""

    def close(self) -> None:
        """Give it up; nothing more is written."""


_STALLED_AFTER, _STALLED_AGAIN_AFTER = 3.0, 60.0
# In seconds: a record that comes at once may take that long on a busy machine.
_SKEW_TOLERANCE = 1.0


class Stage(Enum):
    """How far a partition is."""

    RESTORING = auto()
    CATCHING_UP = auto()
    """Restored; events of the time before its assignment are not all applied."""
    SHOWN = auto()
    REVOKED = auto()
    """Another worker gets it; what has changed is still to be written."""
    LOST = auto()
    """Another worker may have it already, so nothing may be written."""


class OwnedPartition:
    """A partition from its assignment to its revocation; assigned again, it is another one.

    `stage` and `marks` belong to the event loop, `fleet` too once it is there. The thread of the
    consumer sets `delivered`, the offset behind the last record in the inbox, and `end`, the offset
    at which the partition ended when that was last reached. It uses `holes`, and compares the
    clocks by `skew`. `gone` is set by that thread when the partition is the worker's no more, and
    nothing of it may be written. `was_restored` is whether the thread that restores has left the
    fleet to the event loop; `has_last`, whether the writer has taken the last changes of a
    partition that is revoked; `is_settled`, whether they are written. `topics` are the topics that
    its state and positions refer to, `found` those that exist; None before it is restored.
    """

    def __init__(self, number: int, clocks: Clocks) -> None:
        self.number = number
        self.stage = Stage.RESTORING
        self.marks = EndMarks()
        self.fleet: PartitionFleet | None = None
        self._waiting: tuple[int, float] | None = None
        self._read_again = -1
        self._patience = _STALLED_AFTER
        self.holes = HoleCheck()
        self.delivered = 0
        self.end = -1
        self.skew = ClockSkew(clocks, _SKEW_TOLERANCE)
        self.gone = False
        self.was_restored = False
        self.has_last = False
        self.is_settled = False
        self.topics: TopicIds | None = None
        self.found: TopicIds | None = None

    def take_over(self, *names: str) -> None:
        """Set fields of `topics` to those of `found`."""
        if self.topics is not None and self.found is not None:
            found = {name: getattr(self.found, name) for name in names}
            self.topics = self.topics._replace(**found)

    @property
    def lag(self) -> int | None:
        """How many records it is behind the last end that was read; None if that is not known."""
        end = self.marks.end
        return max(0, end - self.position) if end is not None and self.is_running else None

    def has_stalled(self, now: float, *, is_drained: bool) -> bool:
        """Return whether nothing has been delivered for long although there is more.

        That is 3 s at first, and longer each time, because a fetch may take long. That the end was
        reached without records counts only after they were read again: the library may report the
        end of an earlier assignment. `now` is in monotonic seconds. `is_drained` is whether the
        consumer has delivered all that it has fetched: before that, records of the partition may be
        behind those of others.
        """
        end, read = self.marks.end, self.delivered
        has_end = end is None or end <= read or (end <= self.end and self._read_again == read)
        if has_end or not is_drained:
            self._waiting = None
        elif self._waiting is None or self._waiting[0] != read:
            self._waiting = read, now
            self._patience = _STALLED_AFTER
        elif now - self._waiting[1] >= self._patience:
            self._waiting = read, now
            self._read_again = read
            self._patience = min(2 * self._patience, _STALLED_AGAIN_AFTER)
            return True
        return False

    @property
    def is_running(self) -> bool:
        """Whether events are applied."""
        return self.stage in (Stage.CATCHING_UP, Stage.SHOWN)

    @property
    def position(self) -> int:
        """The offset up to which everything has been applied.

        That is behind the last event, or behind markers of transactions that follow it.
        """
        if self.fleet is None:
            return 0
        # In this order: the other thread sets `delivered` first.
        end, delivered = self.end, self.delivered
        applied = self.fleet.store.position
        return max(applied, end) if applied >= delivered else applied
