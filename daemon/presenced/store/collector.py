"""A fleet as rows of tables: restored at the start, then collected as it changes.

The rows are kept in the state file, or as records of Kafka's state topic.
"""

from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client, State
from presenced.presence.client import EventStamp
from presenced.recent.activity import RecentActivity
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.store.changes import Changes
from presenced.store.recent_rows import RowReader, collect_recent, restore_recent
from presenced.store.records import (
    Notes,
    Offsets,
    awaited_of,
    client_of,
    client_row,
    deadline_of,
    object_row,
    restored_object,
    status_of,
    unknown_row,
)
from presenced.store.schema import (
    ClientRow,
    CounterRow,
    DisconnectRow,
    ForgetRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.store.totals import Total, Totals
from presenced.store.writer import WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

_UNKNOWN = State.UNKNOWN  # as a global: see `State`


class DirtyKeys:
    """The names of what has changed and is not collected yet, by table.

    `arrivals` numbers clients by their first transition, or adoption from AWS's record; `arrived`
    is the highest number. Only uncollected clients are in memory.
    """

    def __init__(self) -> None:
        self.arrivals: dict[str, int] = {}
        self.arrived = 0
        self.clients: set[str] = set()
        self.things: set[str] = set()
        self.thing_types: set[str] = set()
        self.thing_groups: set[str] = set()

    def __len__(self) -> int:
        """How many clients and things there are to collect."""
        return len(self.clients) + len(self.things)

    def observe(self, batch: Batch) -> None:
        """Add what a batch changed."""
        for change in batch.changes.clients:
            if change.changed:
                self.clients.add(change.client.client_id)
            if change.dropped is not None:
                self.clients.add(change.dropped)
            transition = change.transition
            if change.adopted or (transition is not None and transition.previous is _UNKNOWN):
                self.arrived += 1
                self.arrivals[change.client.client_id] = self.arrived
        self.things |= batch.changes.things
        self.thing_types |= batch.changes.thing_types
        self.thing_groups |= batch.changes.thing_groups


class Collector:
    """Makes rows of everything that has changed since `restore` or the last `collect`.

    `gap_detector` has the MQTT sessions; None if there are none to keep. `dirty` observes the
    pipeline. `requests` are the operators' requests to forget clients. If one row fails because of
    an error in presenced, it is left out, logged and counted in `counts`; all others are written.
    `offsets` convert monotonic time into the times of the rows. `recent` is the recent activity of
    the fleet; None if that is not kept.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gap_detector: GapDetector | None,
        totals: Iterable[Total],
        clocks: Clocks,
        counts: WriterCounts,
        recent: RecentActivity | None = None,
    ) -> None:
        self.dirty = DirtyKeys()
        self.requests: list[ForgetRow] = []
        now = clocks.monotonic()
        self.offsets = Offsets(wall=clocks.wall() - now, lived=-now)
        self._fleet = pipeline.fleet
        self._gap_detector = gap_detector
        self._totals = Totals(totals)
        self._recent = recent
        self._clocks = clocks
        self._counts = counts
        self._noted: dict[str, str] = {}
        self._written_disconnects = range(0)
        self._log = ThrottledLogger(get_logger("presenced.state"))

    def restore(self, rows: RowReader) -> None:
        """Restore an earlier process's rows into an empty fleet; `Fleet.recount` must follow.

        Raises what `rows` raises, and other exceptions for values that presenced never wrote.
        """
        notes = Notes.of(rows.read(MetaRow))
        now = self._clocks.monotonic()
        # `lived` continues with the monotonic clock, whatever the wall clock is set to.
        self.offsets = Offsets(
            wall=self._clocks.wall() - now - notes.clock_set_by, lived=notes.lived - now
        )
        # Sessions that no connection has any more are deleted.
        self._noted = dict.fromkeys(notes.encoded(), "")
        if self._gap_detector is not None:
            self._gap_detector.restore(notes.sessions)
        self._restore_fleet(rows, notes, now)
        self._totals.restore(rows.read(CounterRow))
        damaged = 0 if self._recent is None else restore_recent(self._recent, rows)
        if damaged:
            self._counts.failures["corrupt"] += damaged
            self._log.error("rows of the last hours cannot be read; they are deleted", rows=damaged)
        for _ in rows.read(ForgetRow):
            pass  # the writer takes them later, and could only skip damaged ones
        disconnects = self._fleet.presence.disconnects
        self._written_disconnects = range(disconnects.first, disconnects.end)

    def _restore_fleet(self, rows: RowReader, notes: Notes, now: float) -> None:
        presence = self._fleet.presence
        self._fleet.inventory.restore(
            (restored_object(Thing(row.name), row) for row in rows.read(ThingRow)),
            (restored_object(ThingType(row.name), row) for row in rows.read(ThingTypeRow)),
            (restored_object(ThingGroup(row.name), row) for row in rows.read(ThingGroupRow)),
        )
        presence.restore_gaps(notes.gap_epoch, notes.last_gap_at)
        presence.disconnects.restore(rows.read(DisconnectRow))
        self._restore_clients(rows, now)

    def _restore_clients(self, rows: RowReader, now: float) -> None:
        """Restore the clients in the order of their arrival; rows come in any order."""
        presence = self._fleet.presence
        interned: dict[str | None, str | None] = {}
        # Side by side in arrays, because of the memory for a million clients.
        clients: list[Client] = []
        deadlines: list[float | None] = []
        awaited: dict[int, list[tuple[EventStamp, float]]] = {}
        arrivals = array("q")
        for row in rows.read(ClientRow):
            client, arrival = client_of(row, interned), row.arrival or 0
            self.dirty.arrived = max(self.dirty.arrived, arrival)
            if row.departed:
                presence.forgotten.add(client)
                continue
            if row.state == State.UNKNOWN and client.has_event:
                # It was forgotten, and is known because its thing exists: see `unknown_row`.
                client.state = State.ONLINE if row.connected else State.OFFLINE
                presence.forgotten.add(client)
                client = Client(row.client_id, gap_epoch=row.gaps)
            if connections := awaited_of(row, presence.rules, now, self.offsets):
                awaited[len(clients)] = connections
            client.status_at = status_of(row, now, self.offsets)
            clients.append(client)
            deadlines.append(deadline_of(row, presence.rules, now, self.offsets))
            arrivals.append(arrival)
        for at in sorted(range(len(clients)), key=arrivals.__getitem__):
            self._fleet.restore(clients[at], deadlines[at], awaited.get(at, ()))

    def collect(self) -> Changes:
        """Return all that has changed."""
        changes, registry = Changes(), self._fleet.inventory
        self._collect_rows("clients", self._client, changes)
        things = partial(_object, registry.things, ThingRow)
        self._collect_rows("things", things, changes)
        groups = partial(_object, registry.groups, ThingGroupRow)
        self._collect_rows("thing_groups", groups, changes)
        types = partial(_object, registry.types, ThingTypeRow)
        self._collect_rows("thing_types", types, changes)
        self._collect_disconnects(changes)
        for kind, collect in (
            ("totals", self._totals.collect),
            ("notes", self._collect_notes),
            ("recent activity", self._collect_recent),
        ):
            try:
                collect(changes)
            except Exception:  # noqa: BLE001 - the rest must still be written
                self._report_fault(kind, "")
        changes.forget_requests = dict.fromkeys(request.id for request in self.requests)
        self.requests = []
        return changes

    def forget_written(self, arrived: Iterable[str]) -> None:
        """Take everything for changed, because the rows that were collected so far are gone.

        `arrived` are clients by their first transition, as far as that is known.
        """
        presence, inventory, dirty = self._fleet.presence, self._fleet.inventory, self.dirty
        dirty.clients.update(presence.clients, presence.forgotten)
        # Clients without a transition have not arrived.
        known = (name for name, each in presence.clients.items() if each.state is not _UNKNOWN)
        ordered = dict.fromkeys((*arrived, *known))
        dirty.arrivals = {name: number for number, name in enumerate(ordered, 1)}
        dirty.arrived = max(dirty.arrived, len(dirty.arrivals))
        dirty.things.update(inventory.things.live, inventory.things.tombstones)
        dirty.thing_types.update(inventory.types.live, inventory.types.tombstones)
        dirty.thing_groups.update(inventory.groups.live, inventory.groups.tombstones)
        self._totals.forget_written()
        self._noted = {}
        self._written_disconnects = range(0)

    def _collect_rows(self, table: str, row_of: Callable[[str], Any], changes: Changes) -> None:
        names: set[str] = getattr(self.dirty, table)
        rows: dict[str, Any] = getattr(changes, table)
        while names:
            name = names.pop()
            try:
                rows[name] = row_of(name)
            except Exception:  # noqa: BLE001 - the other rows must still be written
                self._report_fault(table.removesuffix("s").replace("_", " "), name)

    def _collect_disconnects(self, changes: Changes) -> None:
        disconnects, written = self._fleet.presence.disconnects, self._written_disconnects
        for number in range(written.start, min(disconnects.first, written.stop)):
            changes.counted_disconnects[number] = None
        for number, digest in disconnects.since(written.stop):
            changes.counted_disconnects[number] = DisconnectRow(number, digest)
        self._written_disconnects = range(disconnects.first, disconnects.end)

    def _collect_notes(self, changes: Changes) -> None:
        presence, now = self._fleet.presence, self._clocks.monotonic()
        noted = Notes(
            presence.gap_epoch,
            presence.last_gap_at,
            now + self.offsets.lived,
            # Milliseconds, so that it changes only if the clock is set; never -0.0.
            round(self._clocks.wall() - now - self.offsets.wall, 3) + 0.0,
            tuple(self._gap_detector.sessions) if self._gap_detector is not None else (),
        ).encoded()
        for key in self._noted.keys() - noted.keys():
            changes.meta[key] = None
        for key, value in noted.items():
            if self._noted.get(key) != value:
                changes.note(key, value)
        self._noted = noted

    def _collect_recent(self, changes: Changes) -> None:
        if self._recent is not None:
            collect_recent(self._recent, self._fleet.inventory.with_ancestors, changes)

    def _client(self, client_id: str) -> ClientRow | None:
        presence, offsets = self._fleet.presence, self.offsets
        arrival = self.dirty.arrivals.pop(client_id, None)
        client = presence.clients.get(client_id)
        forgotten = presence.forgotten.get(client_id)
        if client is None:
            return None if forgotten is None else client_row(forgotten, offsets, departed=True)
        if client.state is State.UNKNOWN and forgotten is not None:
            return unknown_row(client, forgotten, offsets)
        return client_row(client, offsets, departed=False, arrival=arrival)

    def _report_fault(self, kind: str, name: str) -> None:
        self._counts.failures["other"] += 1
        self._log.exception(
            "left out of the state file because of an error in presenced",
            key=kind,
            kind=kind,
            name=name,
        )


def _object(objects: Any, row_type: type[Any], name: str) -> Any:
    """Return the row of a thing, group or type; None if there is none of this name."""
    item = objects.get(name)
    return None if item is None else object_row(item, row_type)
