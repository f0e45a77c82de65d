"""The last transitions, one by one."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from presenced.presence import Transition

MAX_TRANSITIONS = 10_000


class RecentTransitions:
    """The last `limit` transitions, each with the number that it was added with.

    `unsaved` has the numbers that were added or removed since it was last cleared; None while
    nothing keeps the transitions.
    """

    def __init__(self, limit: int = MAX_TRANSITIONS) -> None:
        self.unsaved: set[int] | None = None
        self._limit = limit
        # Transitions that turn out to be part of a mass event are removed from the middle.
        self._kept: OrderedDict[int, Transition] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[int, Transition]]:
        """Yield the transitions with their numbers, newest first."""
        return reversed(self._kept.items())

    def get(self, number: int) -> Transition | None:
        """Return the transition of a number; None if it is not kept any more."""
        return self._kept.get(number)

    def add(self, number: int, transition: Transition) -> None:
        """Add the newest transition; its number must be higher than all before."""
        self._kept[number] = transition
        self._note(number)
        if len(self._kept) > self._limit:
            self._note(self._kept.popitem(last=False)[0])

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove transitions, if they are there."""
        for number in numbers:
            if self._kept.pop(number, None) is not None:
                self._note(number)

    def _note(self, number: int) -> None:
        if self.unsaved is not None:
            self.unsaved.add(number)
