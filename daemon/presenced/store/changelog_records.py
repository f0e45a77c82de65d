"""Rows of the tables as records of a compacted topic, and back.

The key of a record is the JSON array of the table's name and the key of the row, its value the row
as a JSON array; a record without value (a tombstone) deletes the row. Compaction keeps the last
record of each key, so a record must be complete by itself. Two tables differ from those in
`schema` for that reason:

- `arrivals` holds the column `arrival` of `clients`, which only the first row of a client has.
- `counted_disconnects` holds blocks of 64 digests under the number of the block, because one record
  and one tombstone for each disconnect would double the records.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, TypeVar

import msgspec

from presenced.presence import State
from presenced.presence.disconnects import CountedDisconnects
from presenced.store.changes import Changes
from presenced.store.records import check_texts
from presenced.store.schema import TABLES, ClientRow, DisconnectRow, Table

BLOCK = 64
"""How many counted disconnects share a record."""

_ARRIVALS = "arrivals"
_KEPT_APART = frozenset({"clients", "counted_disconnects"})
# A worker keeps these in memory: they are about the partitions that it has had.
_NOT_KEPT = frozenset({"forget_requests", "recent_transitions", "mass_events", "trend_minutes"})
_OTHER_TABLES = tuple(table for table in TABLES if table.name not in _KEPT_APART | _NOT_KEPT)
_REGISTRY_TABLES = tuple(t for t in TABLES if t.name in ("thing_types", "thing_groups"))
_STATES = frozenset(State)

_encode = msgspec.json.Encoder().encode

R = TypeVar("R", bound=tuple[Any, ...])

Records = dict[bytes, bytes | None]
"""Values by key; None is a tombstone."""


class RecordEncoder:
    """Encodes changes of one fleet; `refused` counts rows that JSON cannot express.

    Those are client IDs with a lone surrogate.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._block: list[int] = []  # the digests of the last block, which may not be full
        self._block_number = 0

    def restore(self, disconnects: CountedDisconnects) -> None:
        """Continue the last block of the disconnects that an earlier process counted."""
        self._block_number, size = divmod(disconnects.end, BLOCK)
        newest = list(disconnects.since(disconnects.end - size))
        self._block = [digest for _, digest in reversed(newest)]

    def begin_anew(self) -> None:
        """Go on with the first block of disconnects, as if none had been written."""
        self._block, self._block_number = [], 0

    def encode(self, changes: Changes) -> Records:
        """Return the records of all changes."""
        records = self._encode_clients(changes.clients)
        self._encode_tables(changes, _OTHER_TABLES, records)
        self._encode_disconnects(changes.counted_disconnects, records)
        return records

    def encode_registry(self, changes: Changes) -> Records:
        """Return the records of thing types and groups."""
        records: Records = {}
        self._encode_tables(changes, _REGISTRY_TABLES, records)
        return records

    def _encode_clients(self, rows: Mapping[str, ClientRow | None]) -> Records:
        """Return the records of clients, which are nearly all there are: hence no shared code."""
        records: Records = {}
        for client_id, row in rows.items():
            try:
                key = _encode(("clients", client_id))
                if row is None:
                    records[key] = records[_encode((_ARRIVALS, client_id))] = None
                    continue
                records[key] = _encode(row[:-1])
                if row.arrival is not None:
                    records[_encode((_ARRIVALS, client_id))] = _encode(row.arrival)
            except UnicodeEncodeError:
                self.refused += 1
        return records

    def _encode_tables(self, changes: Changes, tables: Iterable[Table], records: Records) -> None:
        for table in tables:
            rows: dict[Any, tuple[Any, ...] | None] = getattr(changes, table.name)
            for key, row in rows.items():
                path = (table.name, key) if isinstance(key, str) else (table.name, *key)
                try:
                    records[_encode(path)] = None if row is None else _encode(row)
                except UnicodeEncodeError:
                    self.refused += 1

    def _encode_disconnects(
        self, rows: Mapping[int, DisconnectRow | None], records: Records
    ) -> None:
        counted = sorted(number for number, row in rows.items() if row is not None)
        for block, numbers in groupby(counted, key=lambda number: number // BLOCK):
            if block != self._block_number:
                self._block_number, self._block = block, []
            self._block += [row.digest for number in numbers if (row := rows[number])]
            records[_block_key(block)] = _encode(self._block)
        for number, row in rows.items():
            if row is None and number % BLOCK == BLOCK - 1:
                records[_block_key(number // BLOCK)] = None


def _block_key(number: int) -> bytes:
    return _encode(("counted_disconnects", number))


class RecordReader:
    """Collects the records of one partition in the order of the topic, and reads rows from them.

    `damaged` counts those that presenced cannot have written.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._tables: dict[bytes, dict[bytes, bytes]] = {}

    def __bool__(self) -> bool:
        return any(self._tables.get(table.name.encode()) for table in TABLES)

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Add a record, in place of the earlier one of the same key."""
        if key is None or not key.startswith(b'["') or (end := key.find(b'"', 2)) < 0:
            self.damaged += 1
            return
        table = self._tables.setdefault(key[2:end], {})
        table.pop(key, None)  # the last written comes last
        if value is not None:
            table[key] = value

    def read(self, row_type: type[R]) -> Iterator[R]:
        """Yield the rows of a table, by the type of its rows; those last written come last."""
        if row_type is ClientRow:
            yield from self._clients()  # type: ignore[misc]
        elif row_type is DisconnectRow:
            yield from self._disconnects()  # type: ignore[misc]
        else:
            name = next(table.name for table in TABLES if table.row is row_type)
            yield from self._decoded(name, row_type)

    def _clients(self) -> Iterator[ClientRow]:
        arrivals = self._tables.get(_ARRIVALS.encode(), {})
        decode = msgspec.json.Decoder(int).decode
        for key, row in self._decoded_items("clients", ClientRow):
            if row.state not in _STATES:
                self.damaged += 1
                continue
            arrival = arrivals.get(_arrival_key(key))
            if arrival is not None:
                try:
                    row = ClientRow._make((*row[:-1], decode(arrival)))
                except msgspec.MsgspecError:
                    self.damaged += 1
            yield row

    def _disconnects(self) -> Iterator[DisconnectRow]:
        """Yield the disconnects of the last blocks that follow each other without a hole."""
        blocks: dict[int, list[int]] = {}
        for key, digests in self._decoded_items("counted_disconnects", list[int]):
            try:
                _, number = msgspec.json.decode(key, type=tuple[str, int])
            except msgspec.MsgspecError:
                self.damaged += 1
            else:
                blocks[number] = digests
        first = last = max(blocks, default=0)
        while len(blocks.get(first - 1, ())) == BLOCK:
            first -= 1
        for number in range(first, last + 1):
            for index, digest in enumerate(blocks.get(number, ())):
                yield DisconnectRow(BLOCK * number + index, digest)

    def _decoded(self, name: str, value_type: type[R]) -> Iterator[R]:
        return (row for _, row in self._decoded_items(name, value_type))

    def _decoded_items(self, name: str, value_type: type[Any]) -> Iterator[tuple[bytes, Any]]:
        decode = msgspec.json.Decoder(value_type).decode
        for key, value in self._tables.get(name.encode(), {}).items():
            try:
                row = decode(value)
            except msgspec.MsgspecError:
                row = _row_of_newer_version(value, value_type)
            try:
                check_texts(row)
            except ValueError:
                row = None
            if row is None:
                self.damaged += 1
            else:
                yield key, row


def _arrival_key(client_key: bytes) -> bytes:
    return client_key.replace(b'["clients"', b'["arrivals"', 1)


def _row_of_newer_version(value: bytes, row_type: type[Any]) -> Any:
    """Return a row without the columns that a newer presenced has added; None if it is no row."""
    columns = getattr(row_type, "_fields", ())
    try:
        values = msgspec.json.decode(value, type=list[Any])
        if not columns or len(values) <= len(columns):
            return None
        return msgspec.convert(values[: len(columns)], row_type)
    except msgspec.MsgspecError:
        return None
