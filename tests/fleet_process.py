"""A fleet whose state is kept in a real file, on clocks that a test moves."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from presenced.events.model import LifecycleEvent, RegistryEvent, SubscriptionEvent
from presenced.fleet import Changes as FleetChanges
from presenced.fleet import Fleet
from presenced.metrics.catalog import kept_totals
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources
from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client, ClientChange, PresenceRules, State
from presenced.presence.name_patterns import ClientFilter
from presenced.settings import MetricsSettings
from presenced.sources.gaps import Gaps
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.store.changes import Changes
from presenced.store.collector import Collector
from presenced.store.file import StateFile
from presenced.store.schema import TABLES, CounterRow
from presenced.store.totals import Total, Totals
from presenced.store.writer import WriterCounts
from presenced.system.loop import Clocks
from recorders import ChangeRecorder, assert_reasons_are_counted, pending_deadlines
from registry.life import seen

DELAY = 5.0
FORGET = 100.0
RULES = PresenceRules(
    offline_delay=DELAY,
    offline_delay_by_reason={"CLIENT_INITIATED_DISCONNECT": 0.0},
    forget_offline_after=FORGET,
)


@dataclass
class Time:
    """Both clocks, in seconds; the offsets are such that sums of them are exact."""

    now: float = 1000.0
    offset: float = 1_700_000_000.0

    @property
    def wall(self) -> float:
        return self.now + self.offset

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.wall)


def totals_of(pipeline: Pipeline, gaps: Gaps) -> list[Total]:
    """The totals that outlive a restart."""
    clients = ClientMetrics(pipeline.fleet, MetricsSettings())
    return list(kept_totals(FleetSources(pipeline, clients, gaps.counts)))


class FleetProcess:
    """What one process knows from its start on, without the place where it keeps that."""

    def __init__(
        self,
        time: Time,
        *,
        rules: PresenceRules,
        ignored: Iterable[str] = (),
        thing_pattern: re.Pattern[str] | None = None,
    ) -> None:
        self.time = time
        self.fleet = Fleet(rules, ClientFilter(patterns=list(ignored)), thing_pattern)
        self.presence = self.fleet.presence
        self.pipeline = Pipeline(self.fleet)
        self.gaps = Gaps(self.presence, time.clocks)
        self.gap_detector = GapDetector(self.gaps, time.clocks)
        self.recorder = ChangeRecorder()
        self.transitions = self.recorder.transitions
        self.totals = totals_of(self.pipeline, self.gaps)
        self.client_metrics = ClientMetrics(self.fleet, MetricsSettings(max_clients=1))

    def apply(self, event: LifecycleEvent) -> None:
        self.advance()
        self.fleet.apply(event, self.time.wall, self.time.now)
        self.publish()

    def apply_subscription(self, event: SubscriptionEvent) -> None:
        self.fleet.apply_subscription(event, self.time.wall)
        self.publish()

    def apply_registry(self, event: RegistryEvent) -> None:
        self.fleet.apply_registry(event, self.time.wall)
        self.publish()

    def advance(self) -> None:
        self.pipeline.advance(self.time.now, self.time.offset)

    def publish(self) -> None:
        """Hand what changed to the observers."""
        self.pipeline.process([])


class Process(FleetProcess):
    """What one process knows, from its start with the file on."""

    def __init__(
        self,
        path: Path,
        time: Time,
        *,
        rules: PresenceRules = RULES,
        ignored: Iterable[str] = (),
        thing_pattern: re.Pattern[str] | None = None,
    ) -> None:
        super().__init__(time, rules=rules, ignored=ignored, thing_pattern=thing_pattern)
        self.path = path
        self.collector = Collector(
            self.pipeline, self.gap_detector, self.totals, time.clocks, WriterCounts()
        )
        self.file = StateFile.open(path)
        self.pipeline.observers += [self.collector.dirty, self.recorder, self.client_metrics]
        self.collector.restore(self.file)
        self.pipeline.recount()
        self.client_metrics.restored()

    def flush(self) -> None:
        """Write what has changed, as the writer's thread would."""
        assert self.file.commit(self.collector.collect()) == 0

    def end(self) -> None:
        """End without writing anything more."""
        self.file.close()


@contextmanager
def state_path() -> Iterator[Path]:
    """A path for one example of a test; pytest's own directories are one for all examples."""
    with TemporaryDirectory() as directory:
        yield Path(directory, "presenced.db")


def stored(path: Path) -> dict[str, dict[Any, Any]]:
    """All rows of a file that is not open, by table and key, without what only the file knows."""
    file = StateFile.open(path)
    try:
        rows = {
            table.name: {row[: table.key_width]: row for row in file.read(table.row)}
            for table in TABLES
        }
        clients = rows["clients"]
        return rows | {"clients": {key: row._replace(arrival=None) for key, row in clients.items()}}
    finally:
        file.close()


def dumped(process: Process) -> dict[str, dict[Any, Any]]:
    """The rows of all that a process knows, whether it noted a change of it or not."""
    collector = Collector(
        process.pipeline, process.gap_detector, process.totals, process.time.clocks, WriterCounts()
    )
    collector.offsets = process.collector.offsets
    inventory, presence = process.fleet.inventory, process.presence
    clients = (
        *presence.clients.values(),
        *filter(None, map(presence.forgotten.get, presence.forgotten)),
    )
    names = (
        {*store.live, *store.tombstones}
        for store in (inventory.things, inventory.types, inventory.groups)
    )
    changes = [ClientChange(client, client.state, client.state) for client in clients]
    collector.dirty.observe(Batch([], [], FleetChanges(changes, *names)))
    changes: Changes = collector.collect()
    return {
        table.name: {
            row[: table.key_width]: row
            for row in getattr(changes, table.name).values()
            if row is not None
        }
        for table in TABLES
    }


def totals(process: FleetProcess) -> dict[tuple[str, str], float]:
    """All totals that are not 0."""
    changes = Changes()
    Totals(process.totals).collect(changes)
    rows = [row for row in changes.counters.values() if isinstance(row, CounterRow)]
    return {(row.name, row.labels): row.value for row in rows}


def known(process: FleetProcess) -> dict[str, Any]:
    """All that users or later events could see of what a process knows, times by the wall clock."""
    fleet, presence = process.fleet, process.presence
    inventory = fleet.inventory
    return {
        "clients": {name: _client(process, client) for name, client in presence.clients.items()},
        "series": [client.client_id for client in process.client_metrics.series.clients()],
        "departed": {name: _order(presence.forgotten.get(name)) for name in presence.forgotten},
        "unverified": presence.counts.unverified,
        "doubted_at": presence.last_gap_at,
        "states": presence.counts.clients,
        "deadlines": pending_deadlines(presence),
        "registry": seen(inventory),
        "things": dict(fleet.thing_counts.states),
        "types": state_counts(fleet.thing_counts.types, inventory.types.live),
        "groups": state_counts(fleet.thing_counts.groups, inventory.groups.live),
        "disconnects": list(presence.disconnects.since(0)),
        "totals": totals(process),
    }


def state_counts(counted: Any, names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Clients by a name that they share and state, where there are any."""
    return {key: count for key, count in counted.samples(names) if count}


def recount(process: FleetProcess) -> tuple[dict[Any, int], dict[Any, int]]:
    """Things by type and by group, counted one by one."""
    types: dict[Any, int] = {}
    groups: dict[Any, int] = {}
    inventory = process.fleet.inventory
    order = list(State)
    states: dict[str, State] = {}
    for client in process.presence.clients.values():
        known = states.get(client.thing, State.UNKNOWN)
        states[client.thing] = min(known, client.state, key=order.index)
    for name, state in states.items():
        thing = inventory.things.live.get(name)
        if thing is None:
            continue
        for counts, names in ((types, [thing.type]), (groups, inventory.groups_of(thing))):
            for part in filter(None, names):
                counts[part, state.value] = counts.get((part, state.value), 0) + 1
    return types, groups


def check(process: FleetProcess) -> None:
    """What must hold at any time, whatever happened."""
    presence, fleet = process.presence, process.fleet
    states = [client.state for client in presence.clients.values()]
    assert presence.counts.clients == {state: states.count(state) for state in State}
    assert_reasons_are_counted(presence)
    unverified = Counter(c.state for c in presence.clients.values() if presence.is_unverified(c))
    counted = presence.counts.unverified
    assert {state: counted[state] for state in State if state is not State.UNKNOWN} == {
        state: unverified[state] for state in State if state is not State.UNKNOWN
    }
    types, groups = recount(process)
    assert state_counts(fleet.thing_counts.types, fleet.inventory.types.live) == types
    assert state_counts(fleet.thing_counts.groups, fleet.inventory.groups.live) == groups
    for total in totals(process).values():
        assert total >= 0


def _client(process: FleetProcess, client: Client) -> tuple[Any, ...]:
    offset = process.time.offset
    awaited = {
        key: replaced.deadline + offset
        for key, replaced in (client.replaced or {}).items()
        if replaced.deadline is not None
    }
    return (
        client.state,
        client.since,
        client.transition,
        client.reason,
        client.has_event,
        client.thing_name,
        client.deadline and client.deadline + offset,
        client.offline_at and client.offline_at + offset,
        process.presence.is_unverified(client),
        awaited,
        _order(client),
    )


def _order(client: Client) -> tuple[Any, ...]:
    return (
        client.connected,
        client.stamp,
        client.ambiguous,
    )
