"""What is to be written into the state file, by key, so that the last word about a key counts."""

from typing import Any

from presenced.state.rows import (
    TABLES,
    ClientRow,
    CounterRow,
    DisconnectRow,
    ForgetRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)

__all__ = ["Changes"]


class Changes:
    """Rows by table and key, as they are to be from now on; None is a row to be deleted.

    The key is the first column, of counters the pair of name and labels. `forget_requests` can only
    be deleted here: they are made by `presenced state forget`.
    """

    __slots__ = (
        "clients",
        "counted_disconnects",
        "counters",
        "forget_requests",
        "meta",
        "thing_groups",
        "thing_types",
        "things",
    )

    def __init__(self) -> None:
        self.clients: dict[str, ClientRow | None] = {}
        self.things: dict[str, ThingRow | None] = {}
        self.thing_groups: dict[str, ThingGroupRow | None] = {}
        self.thing_types: dict[str, ThingTypeRow | None] = {}
        self.counters: dict[tuple[str, str], CounterRow | None] = {}
        self.counted_disconnects: dict[int, DisconnectRow | None] = {}
        self.meta: dict[str, MetaRow | None] = {}
        self.forget_requests: dict[int, None] = {}

    def count(self, name: str, labels: str, value: float) -> None:
        """Set a total; `labels` is a JSON object with sorted keys, `{}` without labels."""
        self.counters[name, labels] = CounterRow(name, labels, value)

    def note(self, key: str, value: str) -> None:
        """Set a single fact."""
        self.meta[key] = MetaRow(key, value)

    def done(self, request: ForgetRow) -> None:
        """Delete a request to forget a client, once these changes hold what follows from it."""
        self.forget_requests[request.id] = None

    def merge(self, later: "Changes") -> None:
        """Add what changed later; of the same key it replaces what was to be written before.

        Of a counted disconnect that was still to be written, and is remembered no longer, nothing
        is left: their numbers rise, so that it is in no file.
        """
        mine, counted = self.counted_disconnects, later.counted_disconnects
        for number in [n for n, row in counted.items() if row is None and mine.get(n)]:
            del mine[number], counted[number]
        for table in TABLES:
            rows: dict[Any, Any] = getattr(later, table.name)
            if rows:
                getattr(self, table.name).update(rows)

    def discard(self) -> None:
        """Let go of all rows one by one.

        A large dictionary that goes at once holds up every other thread: 0.1 s for a million rows.
        """
        for table in TABLES:
            rows: dict[Any, Any] = getattr(self, table.name)
            while rows:
                rows.popitem()

    def __len__(self) -> int:
        return sum(len(getattr(self, table.name)) for table in TABLES)
