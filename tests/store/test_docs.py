"""docs/reference/state-file.md: its queries run, and it leaves out no column."""

import re
from pathlib import Path

import pytest

from presenced.store.file import StateFile
from presenced.store.schema import TABLES, MassEventRow
from statefiles import client_row, of_clients, query, thing_row

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "state-file.md").read_text()
QUERIES = re.findall(r"-- (.+)\n([^;]+);", re.search(r"```sql\n(.*?)```", TEXT, re.DOTALL)[1])
ROWS = {
    "Clients that have been offline longest": [("b", "1970-01-01 00:00:01", "CONNECTION_LOST")],
    "Reasons of offline clients": [("CONNECTION_LOST", 1)],
    "Online and pending clients that are unverified: events may have been lost": [("a",)],
    "Members of a thing group that are online; the client ID is the thing's name": [("a",)],
    "Things by an attribute": [("x", 1)],
    "Mass events of the last hours: when, how many, and why": [
        ("1970-01-01 00:00:01", 12, "offline", '{"CONNECTION_LOST":12}')
    ],
    "A counter": [('{"to":"online"}', 5.0)],
}


@pytest.mark.parametrize(("what", "sql"), QUERIES, ids=[what for what, _ in QUERIES])
def test_each_query_finds_what_it_says(tmp_path, what, sql):
    path = tmp_path / "presenced.db"
    changes = of_clients(
        client_row("a"),
        client_row("b", state="offline", reason="CONNECTION_LOST"),
        client_row("c", gaps=2),
    )
    changes.note("gaps", "2")
    changes.things["a"] = thing_row("a", memberships='[["plant-7",1,true],["old",1,false]]')
    reasons = '{"CONNECTION_LOST":12}'
    changes.mass_events[7] = MassEventRow(7, "offline", 12, 1.5, 9.0, reasons, "{}", "{}", "[]")
    changes.count("iot_client_transitions_total", '{"to":"online"}', 5)
    file = StateFile.open(path)
    file.commit(changes)
    file.close()
    assert query(path, sql) == ROWS[what]


def test_every_table_and_column_is_explained():
    named = set(re.findall(r"`(\w+)`", TEXT))
    for table in TABLES:
        assert table.name in named
        assert set(table.columns) - named <= {"id"}
