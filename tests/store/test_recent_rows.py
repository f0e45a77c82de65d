"""Recent activity in the state file: it comes back as it was, and stays bounded there too."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_process import state_path
from presenced.fleet import Fleet
from presenced.presence import Client, ClientChange, PresenceRules, State, Transition
from presenced.recent.activity import RecentActivity
from presenced.recent.mass_events import MAX_EVENTS, MassEvent
from presenced.recent.trend import MAX_MINUTES
from presenced.store.changes import Changes
from presenced.store.errors import StateDamagedError
from presenced.store.file import StateFile
from presenced.store.recent_rows import collect_recent, restore_recent
from presenced.store.tools import export, summary
from statefiles import query


class Kept:
    """Recent activity that is kept in a file, by one process after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fleet = Fleet(PresenceRules())
        self.now = 1000.0
        self.start()

    def start(self) -> None:
        self.activity = RecentActivity()
        self.file = StateFile.open(self.path, lambda file: restore_recent(self.activity, file))

    def flush(self) -> None:
        changes = Changes()
        collect_recent(self.activity, set, changes)
        assert self.file.commit(changes) == 0

    def restart(self) -> None:
        self.activity.mass_events.note_growing()
        self.flush()
        self.file.close()
        self.start()

    def let(self, client_id: str, state: State = State.OFFLINE, reason: str | None = "X") -> None:
        transition = Transition(self.now, self.now, client_id, State.ONLINE, state, reason)
        change = ClientChange(Client(client_id), State.ONLINE, state, transition)
        self.activity.observe(self.fleet, [change])

    def check(self) -> None:
        self.activity.check(self.now, dict.fromkeys(State, 3), set)

    def minute(self) -> None:
        """Let a minute pass, at whose beginning the clients are counted."""
        for _ in range(2):
            self.check()
            self.now += 60

    @property
    def content(self) -> list[Any]:
        """All that is known, with mass events as they are when they are over."""
        entries: list[Any] = [
            (number, what.count, what.clients, what.reasons, what.first, what.last)
            if isinstance(what, MassEvent)
            else (number, what)
            for number, what in self.activity.entries()
        ]
        return [*entries, *self.activity.trend.since(0)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


STEPS = st.lists(
    st.sampled_from(["online", "offline", "offline", "minute", "pause", "flush", "restart"]),
    max_size=120,
)


@given(STEPS)
@settings(max_examples=60)
def test_a_restart_changes_nothing_whenever_it_comes(steps: list[str]) -> None:
    with state_path() as path:
        kept = Kept(path)
        for number, step in enumerate(steps):
            if step in ("online", "offline"):
                kept.let(f"c-{number}", State(step))
            elif step == "flush":
                kept.flush()
            elif step == "restart":
                before = kept.content
                kept.restart()
                assert kept.content == before
            else:
                kept.now += 60 if step == "minute" else 15
                kept.check()
        kept.file.close()


def test_the_file_is_bounded_like_the_memory(path: Path) -> None:
    kept = Kept(path)
    for number in range(MAX_EVENTS + 10):
        kept.now += 100
        for _ in range(20):
            kept.let(f"c-{number}")
        kept.flush()
    for number in range(10_100):
        kept.now += 60
        kept.let(f"d-{number}")
        kept.check()
        if number % 100 == 0:
            kept.flush()
    kept.restart()
    tables = {
        table: query(path, f"SELECT count(*) FROM {table}")[0][0]
        for table in ("recent_transitions", "mass_events", "trend_minutes")
    }
    assert tables == {
        "recent_transitions": 10_000,
        "mass_events": MAX_EVENTS,
        "trend_minutes": MAX_MINUTES,
    }
    assert summary(path).rows["recent_transitions"] == 10_000
    kept.file.close()


def test_transitions_that_became_a_mass_event_are_in_the_file_once(path: Path) -> None:
    kept = Kept(path)
    for number in range(12):
        kept.let(f"c-{number}")
        kept.flush()
    kept.activity.mass_events.note_growing()
    kept.flush()
    assert query(path, "SELECT count(*) FROM recent_transitions") == [(0,)]
    assert query(path, "SELECT total FROM mass_events") == [(12,)]
    kept.file.close()


def test_an_export_has_what_happened(path: Path) -> None:
    kept = Kept(path)
    kept.let("alone", State.ONLINE)
    for number in range(10):
        kept.let(f"c-{number}")
    kept.minute()
    kept.restart()
    lines = {line["kind"]: line for line in map(json.loads, export(path))}
    assert lines["recent_transition"]["client_id"] == "alone"
    assert lines["mass_event"]["reasons"] == {"other": 10}
    assert lines["mass_event"]["client_ids"] == [f"c-{number}" for number in range(10)]
    assert lines["trend_minute"]["online"] == 3
    kept.file.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE mass_events SET reasons = '[1]'",
        "UPDATE mass_events SET client_ids = 'c-1'",
        'UPDATE mass_events SET thing_groups = \'{"g": "x"}\'',
        "UPDATE recent_transitions SET previous = 'asleep'",
        "UPDATE trend_minutes SET reasons = '{'",
    ],
)
def test_a_row_with_damaged_text_is_left_out_alone(path: Path, sql: str) -> None:
    """Presence does not depend on it."""
    kept = kept_and_damaged(path, sql)
    before = kept.content
    kept.start()
    assert len(kept.content) == len(before) - 1
    kept.restart()
    assert len(kept.content) == len(before) - 1, "it is deleted"
    kept.file.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE mass_events SET total = -1",
        "UPDATE recent_transitions SET time = 1e300",
        "UPDATE trend_minutes SET online = 'many'",
    ],
)
def test_values_that_presenced_never_wrote_are_damage(path: Path, sql: str) -> None:
    kept = kept_and_damaged(path, sql)
    with pytest.raises(StateDamagedError):
        kept.start()
    kept.start()
    assert kept.content == [], "the damaged file has been moved aside"
    kept.file.close()


def kept_and_damaged(path: Path, sql: str) -> Kept:
    """A file with a transition, a mass event and a minute, one of which was changed."""
    kept = Kept(path)
    kept.let("alone", State.ONLINE)
    for number in range(10):
        kept.let(f"c-{number}")
    kept.minute()
    kept.restart()
    kept.file.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql).rowcount == 1
    connection.close()
    return kept
