"""What has changed since the last commit, as rows for the state file."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from presenced.pipeline import Batch, Pipeline
from presenced.presence import State
from presenced.sources.gap_detector import GapDetector
from presenced.store.changes import Changes
from presenced.store.records import Notes, Offsets, client_row, object_row, unknown_row
from presenced.store.schema import (
    ClientRow,
    DisconnectRow,
    ForgetRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.store.totals import Total, Totals
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks


class DirtyKeys:
    """The names of what has changed and is not written yet, by kind."""

    def __init__(self) -> None:
        self.clients: set[str] = set()
        self.things: set[str] = set()
        self.thing_types: set[str] = set()
        self.thing_groups: set[str] = set()

    def add(self, batch: Batch) -> None:
        """Add what a batch changed."""
        for change in batch.changes.clients:
            if change.changed:
                self.clients.add(change.client.client_id)
            if change.dropped is not None:
                self.clients.add(change.dropped)
        self.things |= batch.changes.things
        self.thing_types |= batch.changes.thing_types
        self.thing_groups |= batch.changes.thing_groups


class Collector:
    """Makes rows of everything that has changed since the last `collect`.

    `requests` are what operators asked to forget. A fault in one row keeps no other from being
    written: the row is left out, the fault is logged, and `on_fault` is called.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gap_detector: GapDetector,
        totals: Iterable[Total],
        clocks: Clocks,
        *,
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self.totals = Totals(totals)
        self.requests: list[ForgetRow] = []
        self._fleet = pipeline.fleet
        self._gap_detector = gap_detector
        self._clocks = clocks
        self._on_fault = on_fault
        self._lived_offset = -clocks.monotonic()
        self._wall_offset = clocks.wall() - clocks.monotonic()
        self._noted: dict[str, str] = {}
        self._dirty = DirtyKeys()
        self._written_disconnects = range(0)
        self._log = ThrottledLogger(get_logger("presenced.state"))

    @property
    def offsets(self) -> Offsets:
        """What converts monotonic time into the times of the file."""
        return Offsets(wall=self._wall_offset, lived=self._lived_offset)

    @property
    def notes(self) -> Notes:
        """The single facts as they are now."""
        presence, now = self._fleet.presence, self._clocks.monotonic()
        # Milliseconds, so that what is noted changes only where the clock was set; never -0.0.
        clock_set_by = round(self._clocks.wall() - now - self._wall_offset, 3) + 0.0
        return Notes(
            presence.gap_epoch,
            presence.last_gap_at,
            now + self._lived_offset,
            clock_set_by,
            tuple(self._gap_detector.sessions),
        )

    def continue_from(self, notes: Notes) -> None:
        """Continue from what an earlier process noted.

        The time that the daemon has lived goes on with the monotonic clock, wherever the wall clock
        is set.
        """
        now = self._clocks.monotonic()
        self._lived_offset = notes.lived - now
        self._wall_offset = self._clocks.wall() - now - notes.clock_set_by
        # To be deleted, unless a connection has the session still.
        self._noted = dict.fromkeys(notes.encoded_sessions(), "")

    def start(self) -> None:
        """Collect what changes from now on; everything known so far is in the file."""
        disconnects = self._fleet.presence.disconnects
        self._written_disconnects = range(disconnects.first, disconnects.end)

    def observe(self, batch: Batch) -> None:
        """Note what a batch changed."""
        self._dirty.add(batch)

    def collect(self) -> Changes:
        """Return all that has changed."""
        changes, dirty = Changes(), self._dirty
        offsets, registry = self.offsets, self._fleet.inventory
        self._collect_rows(
            "client", dirty.clients, changes.clients, lambda name: self._client(name, offsets)
        )
        things = partial(_object, registry.things, ThingRow)
        self._collect_rows("thing", dirty.things, changes.things, things)
        groups = partial(_object, registry.groups, ThingGroupRow)
        self._collect_rows("thing group", dirty.thing_groups, changes.thing_groups, groups)
        types = partial(_object, registry.types, ThingTypeRow)
        self._collect_rows("thing type", dirty.thing_types, changes.thing_types, types)
        self._collect_disconnects(changes)
        for kind, collect in (("totals", self.totals.collect), ("notes", self._collect_notes)):
            try:
                collect(changes)
            except Exception:  # noqa: BLE001 - whatever it is, the others are to be written
                self._report_fault(kind, "")
        for request in self.requests:
            changes.done(request)
        self.requests = []
        return changes

    def _collect_rows(
        self, kind: str, names: set[str], rows: dict[str, Any], make: Callable[[str], Any]
    ) -> None:
        while names:
            name = names.pop()
            try:
                rows[name] = make(name)
            except Exception:  # noqa: BLE001 - whatever it is, the others are to be written
                self._report_fault(kind, name)

    def _collect_disconnects(self, changes: Changes) -> None:
        disconnects, written = self._fleet.presence.disconnects, self._written_disconnects
        for number in range(written.start, min(disconnects.first, written.stop)):
            changes.counted_disconnects[number] = None
        for number, digest in disconnects.since(written.stop):
            changes.counted_disconnects[number] = DisconnectRow(number, digest)
        self._written_disconnects = range(disconnects.first, disconnects.end)

    def _report_fault(self, kind: str, name: str) -> None:
        self._on_fault()
        self._log.exception(
            "left out of the state file because of an error in presenced",
            key=kind,
            kind=kind,
            name=name,
        )

    def _client(self, client_id: str, offsets: Offsets) -> ClientRow | None:
        presence = self._fleet.presence
        client = presence.clients.get(client_id)
        forgotten = presence.forgotten.get(client_id)
        if client is None:
            return None if forgotten is None else client_row(forgotten, offsets, departed=True)
        if client.state is State.UNKNOWN and forgotten is not None:
            return unknown_row(client, forgotten, offsets)
        return client_row(client, offsets, departed=False)

    def _collect_notes(self, changes: Changes) -> None:
        noted = self.notes.encoded()
        for key in self._noted.keys() - noted.keys():
            changes.meta[key] = None
        for key, value in noted.items():
            if self._noted.get(key) != value:
                changes.note(key, value)
        self._noted = noted


def _object(objects: Any, row_type: type[Any], name: str) -> Any:
    """Return the row of a thing, group or type, None where there is none of this name."""
    item = objects.get(name)
    return None if item is None else object_row(item, row_type)
