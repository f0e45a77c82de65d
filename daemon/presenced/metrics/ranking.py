"""Names in order."""

from bisect import bisect_left, bisect_right

__all__ = ["Ranking"]

_LONGEST = 1000


class Ranking:
    """A set of names that knows its first and its last; a change costs little at any size.

    The names lie in sorted lists of bounded length; the first name of each tells which list a name
    belongs to.
    """

    __slots__ = ("_firsts", "_lists")

    def __init__(self) -> None:
        self._firsts: list[str] = []
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
            self._insert(0, [name])
            return
        number, at, there = self._find(name)
        if there:
            return
        names = self._lists[number]
        names.insert(at, name)
        self._firsts[number] = names[0]
        if len(names) > _LONGEST:
            # Names that come in order, as from the state file, leave full lists behind.
            half = _LONGEST if at == _LONGEST else _LONGEST // 2
            self._insert(number + 1, names[half:])
            del names[half:]

    def discard(self, name: str) -> None:
        """Take out a name, if it is there."""
        number, at, there = self._find(name)
        if not there:
            return
        names = self._lists[number]
        del names[at]
        if names:
            self._firsts[number] = names[0]
        else:
            del self._lists[number], self._firsts[number]

    def _insert(self, number: int, names: list[str]) -> None:
        self._lists.insert(number, names)
        self._firsts.insert(number, names[0])

    def _find(self, name: str) -> tuple[int, int, bool]:
        """The number of the list that holds a name, or would, where in it, and whether it does."""
        number = max(0, bisect_right(self._firsts, name) - 1)
        names = self._lists[number] if self._lists else []
        at = bisect_left(names, name)
        return number, at, at < len(names) and names[at] == name
