"""Objects of the registry by name: those that exist, and the last ones that do not."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

__all__ = ["Shelf"]

_MOST_GONE = 100_000


class _Shelved(Protocol):
    name: str

    @property
    def exists(self) -> bool: ...


T = TypeVar("T", bound=_Shelved)


class Shelf(Generic[T]):
    """All objects of one kind.

    `live` are those that exist. What is known of others (that they were deleted, mostly) is kept
    as long as there is room for it, so that a late event does not bring them back; the one that
    changed longest ago is dropped first. `on_change` is told the name of each object that may have
    changed or was dropped.
    """

    def __init__(
        self,
        make: Callable[[str], T],
        *,
        most_gone: int = _MOST_GONE,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.live: dict[str, T] = {}
        self._gone: OrderedDict[str, T] = OrderedDict()
        self._make = make
        self._most_gone = most_gone
        self.on_change = on_change

    def get(self, name: str) -> T | None:
        """What is known under a name, whether it exists or not."""
        return self.live.get(name) or self._gone.get(name)

    def take(self, name: str) -> T:
        """What is known under a name; if nothing is, a new object, to be settled."""
        return self.get(name) or self._make(name)

    def settle(self, item: T) -> None:
        """Put an object that may have changed where it belongs."""
        self.place(item)
        self.on_change(item.name)

    def place(self, item: T) -> None:
        """Put an object where it belongs, and tell nobody."""
        name = item.name
        if item.exists:
            self._gone.pop(name, None)
            self.live[name] = item
        else:
            self.live.pop(name, None)
            self._gone[name] = item
            self._gone.move_to_end(name)
            if len(self._gone) > self._most_gone:
                dropped, _ = self._gone.popitem(last=False)
                self.on_change(dropped)

    @property
    def gone(self) -> Collection[str]:
        """The names of the objects that are remembered and do not exist."""
        return self._gone.keys()
