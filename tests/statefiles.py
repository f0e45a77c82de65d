"""Rows and files that the tests of the state file share."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from presenced.store.changes import Changes
from presenced.store.file import StateFile
from presenced.store.schema import ClientRow, ThingRow


def client_row(client_id: str = "a", **values: object) -> ClientRow:
    row = ClientRow(client_id, "online", 1.5, 1.5, None, None, 1, 1500, 7, "s-1", None, 0, 0, None)
    return row._replace(**values)  # type: ignore[arg-type]


def thing_row(name: str = "t", **values: object) -> ThingRow:
    row = ThingRow(name, "id", 1, 1500, 0, -1, None, '{"site":"x"}', None, '[["g",1500,true]]')
    return row._replace(**values)  # type: ignore[arg-type]


def of_clients(*rows: ClientRow) -> Changes:
    changes = Changes()
    for row in rows:
        changes.clients[row.client_id] = row
    return changes


def fill(path: Path, client_ids: Iterable[str]) -> None:
    """A closed state file with these clients."""
    file = StateFile.open(path)
    file.commit(of_clients(*map(client_row, client_ids)))
    file.close()


def clients_in(file: StateFile) -> dict[str, ClientRow]:
    return {row.client_id: row for row in file.read(ClientRow)}


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another program sees that reads the file."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
