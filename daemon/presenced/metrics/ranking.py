"""Names in order."""

from bisect import bisect_left, bisect_right
from operator import itemgetter

__all__ = ["Ranking"]

_LONGEST = 1000
_first = itemgetter(0)


class Ranking:
    """A set of names that knows its first and its last; a change costs little at any size.

    The names lie in sorted lists of bounded length, which are sorted themselves.
    """

    __slots__ = ("_lists",)

    def __init__(self) -> None:
        self._lists: list[list[str]] = []

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def first(self) -> str:
        """The least name. Raises IndexError where there is none."""
        return self._lists[0][0]

    @property
    def last(self) -> str:
        """The greatest name. Raises IndexError where there is none."""
        return self._lists[-1][-1]

    def add(self, name: str) -> None:
        """Take in a name; one that is there already stays."""
        if not self._lists:
            self._lists.append([name])
            return
        number = self._number(name)
        names = self._lists[number]
        at = bisect_left(names, name)
        if names[at : at + 1] == [name]:
            return
        names.insert(at, name)
        if len(names) > _LONGEST:
            # Names that come in order, as from the state file, leave full lists behind.
            half = _LONGEST if at == _LONGEST else _LONGEST // 2
            self._lists.insert(number + 1, names[half:])
            del names[half:]

    def discard(self, name: str) -> None:
        """Take out a name, if it is there."""
        if not self._lists:
            return
        number = self._number(name)
        names = self._lists[number]
        at = bisect_left(names, name)
        if names[at : at + 1] == [name]:
            del names[at]
            if not names:
                del self._lists[number]

    def _number(self, name: str) -> int:
        """The number of the list that holds a name, or would."""
        return max(0, bisect_right(self._lists, name, key=_first) - 1)
