"""What has changed, as rows for the state file."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from presenced.pipeline import Pipeline
from presenced.presence import State
from presenced.sources.gap_detector import GapDetector
from presenced.store.changes import Changes
from presenced.store.records import (
    Offsets,
    client_row,
    thing_group_row,
    thing_row,
    thing_type_row,
    unknown_row,
)
from presenced.store.restoration import (
    CLOCK_SET_BY,
    DOUBTED_AT,
    FILTERS,
    GAPS,
    LIVED,
    SESSION,
    Notes,
)
from presenced.store.schema import (
    ClientRow,
    DisconnectRow,
    ForgetRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.store.tallies import Tallies
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks
from presenced.touched import Touched


class Collector:
    """Makes rows of all that has changed since it last did.

    A fault in one row keeps no other from being written: the row is left out, the fault logged, and
    `on_fault` told. `lived` is how long the daemon has run in all, in seconds: it goes on with the
    monotonic clock, whatever becomes of the wall clock.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gap_detector: GapDetector,
        clocks: Clocks,
        *,
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self.touched = Touched()
        self.tallies = Tallies(pipeline, gap_detector)
        self.requests: list[ForgetRow] = []
        self._fleet = pipeline.fleet
        self._gap_detector = gap_detector
        self._clocks = clocks
        self._on_fault = on_fault
        self._lived_offset = -clocks.monotonic()
        self._wall_offset = clocks.wall() - clocks.monotonic()
        self._noted: dict[str, str] = {}
        self._log = ThrottledLogger(get_logger("presenced.state"))

    @property
    def offsets(self) -> Offsets:
        """What turns monotonic time into the times that the file has."""
        return Offsets(wall=self._wall_offset, lived=self._lived_offset)

    @property
    def clock_set_by(self) -> float:
        """By how much the wall clock was set in all while the daemon ran, in seconds."""
        offset = self._clocks.wall() - self._clocks.monotonic()
        # Milliseconds, so that what is noted stands still where the clock does; never -0.0.
        return round(offset - self._wall_offset, 3) + 0.0

    def go_on_from(self, notes: Notes) -> None:
        """Go on from what an earlier process noted."""
        now = self._clocks.monotonic()
        self._lived_offset = notes.lived - now
        self._wall_offset = self._clocks.wall() - now - notes.clock_set_by
        for session in notes.sessions:
            self._noted |= {SESSION + session.client_id: "", FILTERS + session.client_id: ""}

    def collect(self) -> Changes:
        """All that has changed."""
        changes = self.collect_rows()
        changes.merge(self.collect_figures())
        for request in self.requests:
            changes.done(request)
        self.requests = []
        return changes

    def collect_figures(self) -> Changes:
        """The totals and notes that have changed.

        They tell what rows mean, such as which clients are unverified: where rows are written bit
        by bit, these come first.
        """
        changes = Changes()
        self._attempt("totals", "", lambda: self.tallies.collect(changes))
        self._attempt("notes", "", lambda: self._collect_notes(changes))
        return changes

    def collect_rows(self, most: int | None = None) -> Changes:
        """The rows of what was touched, or of `most` names of each kind, which are taken out."""
        changes, touched = Changes(), self.touched
        offsets = self.offsets
        for kind, names, rows, make in (
            ("client", touched.clients, changes.clients, lambda name: self._client(name, offsets)),
            ("thing", touched.things, changes.things, self._thing),
            ("thing group", touched.thing_groups, changes.thing_groups, self._thing_group),
            ("thing type", touched.thing_types, changes.thing_types, self._thing_type),
        ):
            self._collect_kind(kind, names, rows, make, most)
        digests = touched.disconnects
        for _ in range(len(digests) if most is None else min(most, len(digests))):
            number, digest = digests.popitem()
            row = None if digest is None else DisconnectRow(number, digest)
            changes.counted_disconnects[number] = row
        return changes

    def _collect_kind(
        self,
        kind: str,
        names: set[str],
        rows: dict[str, Any],
        make: Callable[[str], Any],
        most: int | None,
    ) -> None:
        for _ in range(len(names) if most is None else min(most, len(names))):
            name = names.pop()
            try:
                rows[name] = make(name)
            except Exception:  # noqa: BLE001 - whatever it is, the others are to be written
                self._tell_fault(kind, name)

    def _attempt(self, kind: str, name: str, collect: Callable[[], None]) -> None:
        try:
            collect()
        except Exception:  # noqa: BLE001 - whatever it is, the others are to be written
            self._tell_fault(kind, name)

    def _tell_fault(self, kind: str, name: str) -> None:
        self._on_fault()
        self._log.exception(
            "left out of the state file for a fault of presenced", key=kind, kind=kind, name=name
        )

    def _client(self, client_id: str, offsets: Offsets) -> ClientRow | None:
        presence = self._fleet.presence
        client = presence.clients.get(client_id)
        forgotten = presence.departed.get(client_id)
        if client is None:
            return None if forgotten is None else client_row(forgotten, offsets, departed=True)
        if client.state is State.UNKNOWN and forgotten is not None:
            return unknown_row(client, forgotten, offsets)
        return client_row(client, offsets, departed=False)

    def _thing(self, name: str) -> ThingRow | None:
        thing = self._fleet.inventory.things.get(name)
        return None if thing is None else thing_row(thing)

    def _thing_group(self, name: str) -> ThingGroupRow | None:
        group = self._fleet.inventory.groups.get(name)
        return None if group is None else thing_group_row(group)

    def _thing_type(self, name: str) -> ThingTypeRow | None:
        kind = self._fleet.inventory.types.get(name)
        return None if kind is None else thing_type_row(kind)

    def _collect_notes(self, changes: Changes) -> None:
        presence = self._fleet.presence
        self._note(changes, GAPS, str(presence.gaps))
        self._note(changes, DOUBTED_AT, repr(presence.doubted_at))
        self._note(changes, LIVED, repr(self._clocks.monotonic() + self._lived_offset))
        self._note(changes, CLOCK_SET_BY, repr(self.clock_set_by))
        self._collect_sessions(changes)

    def _collect_sessions(self, changes: Changes) -> None:
        notes: dict[str, str] = {}
        for each in self._gap_detector.sessions:
            times = [each.alive_at]
            if each.missing_since is not None:
                times.append(each.missing_since)
            notes[SESSION + each.client_id] = " ".join(str(math.floor(at)) for at in times)
            if each.subscribed is not None:
                notes[FILTERS + each.client_id] = msgspec.json.encode(each.subscribed).decode()
        for key in [each for each in self._noted if each.startswith((SESSION, FILTERS))]:
            if key not in notes:
                del self._noted[key]
                changes.meta[key] = None
        for key, value in notes.items():
            self._note(changes, key, value)

    def _note(self, changes: Changes, key: str, value: str) -> None:
        if self._noted.get(key) != value:
            self._noted[key] = value
            changes.note(key, value)
