"""Totals as rows of the state file, and back."""

from typing import Any

import pytest

from fleet_process import totals_of
from presenced.fleet import Fleet
from presenced.metrics.catalog import CATALOG
from presenced.pipeline import EventCounts, Pipeline
from presenced.presence import Distribution, PresenceCounts, PresenceRules, State
from presenced.sources.gaps import GapReason, Gaps
from presenced.store.changes import Changes
from presenced.store.schema import CounterRow
from presenced.store.totals import Totals
from presenced.system.loop import Clocks

GAUGES = {"clients", "unverified"}
NOT_KEPT = {"faults", "last_ahead"}


def is_kept(name: str) -> bool:
    return name not in GAUGES | NOT_KEPT and not name.startswith("_")


class Counted:
    """What has been counted, and the totals of it that outlive a restart."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Fleet(PresenceRules()))
        presence = self.pipeline.fleet.presence
        self.gaps = Gaps(presence, Clocks(lambda: 0.0, lambda: 0.0))
        self.kept = Totals(totals_of(self.pipeline, self.gaps))

    @property
    def totals(self) -> dict[tuple[type, str], Any]:
        """Every attribute that counts something, in a form that can be compared."""
        counts = (self.pipeline.fleet.presence.counts, self.pipeline.counts)
        found = {
            (type(each), name): plain(value)
            for each in counts
            for name, value in vars(each).items()
            if is_kept(name)
        }
        return found | {(Gaps, "counts"): plain(self.gaps.counts)}

    def count_everything(self) -> None:
        """Give every total a value of its own."""
        numbers = iter(range(1, 10_000))
        counts = (self.pipeline.fleet.presence.counts, self.pipeline.counts)
        for each in counts:
            for name, value in vars(each).items():
                if not is_kept(name):
                    continue
                if isinstance(value, int):
                    setattr(each, name, next(numbers))
                else:
                    fill(value, numbers)
        presence, events = counts
        presence.disconnects["CONNECTION_LOST", "server"] += next(numbers)
        presence.corrections[State.ONLINE, "SearchIndex"] += next(numbers)
        events.connect_failures["other"] += next(numbers)
        fill(self.gaps.counts, numbers)

    def collect(self) -> list[CounterRow]:
        changes = Changes()
        self.kept.collect(changes)
        return [row for row in changes.counters.values() if row is not None]


def fill(value: Any, numbers: Any) -> None:
    if isinstance(value, Distribution):
        value.buckets = [next(numbers) for _ in value.buckets]
        value.sum = next(numbers) + 0.1
        return
    for key, each in value.items():
        if isinstance(each, int):
            value[key] = next(numbers)
        else:
            fill(each, numbers)


def plain(value: Any) -> Any:
    if isinstance(value, Distribution):
        return (*value.buckets, value.sum)
    return {key: plain(each) for key, each in value.items()} if hasattr(value, "items") else value


def restored(*rows: CounterRow) -> Counted:
    counted = Counted()
    counted.kept.restore(rows)
    return counted


def row(name: str, value: float, labels: str = "{}") -> CounterRow:
    return CounterRow(name, labels, value)


def test_every_total_is_restored() -> None:
    """Every attribute of the counts, by its name: one that is not stored fails here."""
    before = Counted()
    before.count_everything()
    after = restored(*before.collect())
    shared = (EventCounts, "ignored"), (PresenceCounts, "ignored")
    ignored: dict[str, int] = {}
    for key in shared:
        for why, number in before.totals[key].items():
            ignored[why] = ignored.get(why, 0) + number
    assert after.totals[shared[0]] == ignored, "two parts of one metric are restored as one"
    for key, total in before.totals.items():
        if key not in shared:
            assert after.totals[key] == total, key


def test_every_kept_metric_of_the_catalog_is_collected() -> None:
    counted = Counted()
    counted.count_everything()
    names = {each.name for each in counted.collect()}
    for metric in CATALOG.values():
        if metric.name.startswith("iot_") or metric.name == "presenced_gaps_total":
            if metric.kind == "counter":
                assert metric.name in names
            if metric.kind == "histogram":
                assert {f"{metric.name}_bucket", f"{metric.name}_sum"} <= names


def test_labels_are_those_of_the_catalog() -> None:
    counted = Counted()
    counted.count_everything()
    for each in counted.collect():
        name = each.name.removesuffix("_bucket").removesuffix("_sum")
        expected = CATALOG[name].labels + (("le",) if each.name.endswith("_bucket") else ())
        assert all(f'"{label}":' in each.labels for label in expected)


def test_only_changed_totals_are_collected() -> None:
    counted = Counted()
    assert counted.collect() == [], "nothing has been counted yet"
    counted.pipeline.fleet.presence.counts.transitions[State.ONLINE] = 3
    counted.pipeline.fleet.presence.counts.session_duration.observe(7.0)
    assert counted.collect() == [
        row("iot_client_transitions_total", 3, '{"to":"online"}'),
        row("iot_client_session_duration_seconds_bucket", 1, '{"le":"15"}'),
        row("iot_client_session_duration_seconds_sum", 7.0),
    ]
    assert counted.collect() == []


def test_restored_totals_are_not_collected_again() -> None:
    before = Counted()
    before.count_everything()
    assert restored(*before.collect()).collect() == []


def test_stored_totals_are_added_to_those_counted_so_far() -> None:
    counted = Counted()
    counted.gaps.counts[GapReason.RATE_LIMIT] = 2
    stored = row("presenced_gaps_total", 40, '{"reason":"rate_limit"}')
    counted.kept.restore([stored])
    assert counted.collect() == [stored._replace(value=42)]


@pytest.mark.parametrize(
    "unknown",
    [
        row("iot_no_such_total", 5),
        row("iot_event", 5),
        row("iot_events_total_of_old", 5),
        row("iot_client_transitions_total", 5, '{"to":"sideways"}'),
        row("iot_client_transitions_total", 5, '{"from":"online"}'),
        row("iot_client_disconnects_total", 5, '{"reason":"OTHER"}'),
        row("iot_client_disconnects_total", 5, '{"by":"client","reason":"X","more":"y"}'),
        row("iot_client_connect_failures_total", 5, '{"cause":"x"}'),
        row("iot_client_transitions_total", 5, "no JSON"),
        row("iot_client_transitions_total", 5, '["to"]'),
        row("iot_event_delay_seconds_bucket", 5, '{"family":"presence","le":"0.3"}'),
        row("iot_event_delay_seconds_sum", 5, '{"family":"nonsense"}'),
        row("iot_client_session_duration_seconds_count", 5),
    ],
    ids=lambda each: f"{each.name} {each.labels}",
)
def test_unknown_totals_are_ignored(unknown: CounterRow) -> None:
    good = row("iot_client_flaps_suppressed_total", 7)
    counted = restored(unknown, good)
    assert counted.collect() == []
    assert counted.pipeline.fleet.presence.counts.flaps_suppressed == 7
    nothing = Counted()
    nothing.pipeline.fleet.presence.counts.flaps_suppressed = 7
    assert counted.totals == nothing.totals
