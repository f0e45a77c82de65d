"""The metrics of a fleet in partitions: one exposition, whatever partitions there are."""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from histories import lifecycle
from presenced.fleet import Fleet, Partition
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources, MetricSources
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.settings import MetricsSettings
from registries import group, member

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def part(number: int, online: Iterable[str], **settings: object) -> FleetSources:
    """A partition, of 4, with clients that are online and members of the group `plants`."""
    partition = Partition(number, 4)
    fleet = Fleet(PresenceRules())
    clients = ClientMetrics(fleet, MetricsSettings.model_validate(settings), partition)
    pipeline = Pipeline(fleet, [clients])
    fleet.apply_registry(group("plants"), 10.0)
    fleet.apply_registry(group("pumps"), 10.0)
    for client_id in online:
        event = lifecycle(connected=True, timestamp=0, version=1, session="s", client_id=client_id)
        fleet.apply(event, 10.0, 10.0)
        fleet.apply_registry(member("plants", client_id), 10.0)
    pipeline.process([])
    return FleetSources(pipeline, clients, partition=partition)


def samples(fleets: list[FleetSources]) -> Samples:
    sources = MetricSources(lambda: fleets, "kafka", partitioned=True)
    text = Exposition(sources, process_metrics=False).render().decode()
    assert text.count("# TYPE iot_client_connected gauge") == (1 if fleets else 0)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_clients_and_events_are_counted_by_partition() -> None:
    found = samples([part(0, ["a", "b"]), part(3, ["c"])])
    assert found["iot_clients", labels(partition="0", state="online")] == 2
    assert found["iot_clients", labels(partition="3", state="online")] == 1
    assert found["iot_client_transitions_total", labels(partition="3", to="online")] == 1
    assert found["iot_client_connected", labels(client_id="a", partition="0")] == 1
    assert found["iot_client_connected", labels(client_id="c", partition="3")] == 1
    bucket = labels(partition="0", le="+Inf", family="presence")
    assert found["iot_event_delay_seconds_bucket", bucket] == 0


def test_what_every_partition_has_is_counted_once() -> None:
    found = samples([part(0, ["a"]), part(1, [])])
    assert found["iot_thing_groups", labels()] == 2
    assert found["iot_thing_types", labels()] == 0


def test_a_worker_without_partitions_shows_its_own_metrics_only() -> None:
    found = samples([])
    assert not any(name.startswith("iot_") for name, _ in found)
    assert ("presenced_ready", labels()) in found


def test_classes_have_the_partition_too() -> None:
    found = samples([part(2, ["a1", "b1"], client_id_pattern="(?P<kind>[ab])")])
    assert found["iot_class_clients", labels(partition="2", kind="b", state="online")] == 1


def test_a_partition_has_its_share_of_the_series() -> None:
    found = samples([part(0, "abcdef", max_clients=10)])
    shown = [key for name, key in found if name == "iot_client_connected"]
    assert len(shown) == 3
    assert found["presenced_clients_without_series", labels(partition="0")] == 3


def test_patterns_choose_the_groups_with_series() -> None:
    fleet = part(1, ["a"], thing_groups=["pl*"])
    found = samples([fleet])
    groups = {dict(key)["thing_group"] for name, key in found if name == "iot_thing_group_clients"}
    assert groups == {"plants"}
    fleet.clients.use(MetricsSettings(thing_groups=()))
    assert not [name for name, _ in samples([fleet]) if name == "iot_thing_group_clients"]
