"""Offsets that are skipped: because the topic lacks them, or because records were not delivered.

librdkafka may deliver records of an earlier assignment of a partition. Those before the expected
offset are left out. Behind it, nothing tells them from those that follow a hole in the topic, as
transactions of producers leave: so the partition is read again from the expected offset, and the
hole counts if it is still there.
"""

from collections.abc import Sequence

from presenced.events.message import Message

# The end of a transaction takes one offset. Once a topic is known to have such ends, a few in a row
# are no reason to read again; that would be done for each transaction.
_ENDS_IN_A_ROW = 10


class HoleCheck:
    """Decides which messages of one partition follow what was delivered."""

    def __init__(self) -> None:
        self._suspected: tuple[int, int] | None = None
        self._has_holes = False

    def following(
        self, expected: int, messages: Sequence[Message]
    ) -> tuple[list[Message], int | None]:
        """Return the messages that follow, and the offset to read again from, None if not needed.

        `expected` is the offset of the next message if there is no hole.
        """
        taken: list[Message] = []
        for each in messages:
            if each.offset < expected:
                continue
            if each.offset > expected and not self._is_hole(expected, each.offset):
                return taken, expected
            taken.append(each)
            expected = each.offset + 1
        return taken, None

    def _is_hole(self, expected: int, offset: int) -> bool:
        if self._has_holes and offset - expected <= _ENDS_IN_A_ROW:
            return True
        hole = expected, offset
        is_still_there, self._suspected = self._suspected == hole, hole
        self._has_holes |= is_still_there
        return is_still_there
