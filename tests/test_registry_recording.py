"""A recording of a registry, replayed, shows its true state at the end."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from command_line import run_here
from registry_recording import record

RECORDING = Path(__file__).parent / "recordings/registry.jsonl"
ATTRIBUTES = ("site", "model")


class Metrics:
    """The samples of `presenced replay --print metrics`."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append(sample)

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], int]:
        """The values of a metric by these labels of it."""
        return {
            tuple(sample.labels[label] for label in labels): int(sample.value)
            for sample in self._samples[name]
        }

    def value(self, name: str) -> int:
        """The value of a metric without labels."""
        return self.values(name)[()]

    def presence(self, name: str, label: str) -> dict[str, Counter[str]]:
        """Counts of clients by a label and by state."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for (value, state), count in self.values(name, label, "state").items():
            counts[value][state] = count
        return counts

    def infos(self) -> Iterator[tuple[str, dict[str, str]]]:
        """What is said of each client."""
        for sample in self._samples["iot_client_info"]:
            labels = dict(sample.labels)
            yield labels.pop("client_id"), labels


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    config = tmp_path_factory.mktemp("replay") / "presenced.yaml"
    config.write_text(f"metrics: {{thing_attributes: [{', '.join(ATTRIBUTES)}]}}\n")
    done = run_here("replay", "--print", "metrics", "--config", str(config), str(RECORDING))
    assert (done.returncode, done.stderr) == (0, "")
    return Metrics(done.stdout)


def test_the_recording_is_current() -> None:
    assert RECORDING.read_text() == "".join(record().recording()), (
        "write it anew: python tests/registry_recording.py > tests/recordings/registry.jsonl"
    )


def test_presence_by_type(metrics: Metrics) -> None:
    truth = record().by_type()
    assert metrics.presence("iot_thing_type_clients", "thing_type") == truth
    assert truth.keys() == {"sensor", "gateway", "actuator"}


def test_presence_by_group(metrics: Metrics) -> None:
    truth = record().by_group()
    assert metrics.presence("iot_thing_group_clients", "thing_group") == truth
    assert truth.keys() == {"plants", "north", "south", "hall-1", "hall-2", "hall-3"}
    assert truth["plants"] == truth["north"] + truth["south"]


def test_presence_of_all(metrics: Metrics) -> None:
    truth = record().by_state()
    shown = {state: count for (state,), count in metrics.values("iot_clients", "state").items()}
    assert Counter(shown) == truth
    assert all(truth[state] for state in ("online", "offline", "unknown"))


def test_what_the_registry_says_of_each_client(metrics: Metrics) -> None:
    assert dict(metrics.infos()) == record().infos(ATTRIBUTES)


def test_how_many_of_each(metrics: Metrics) -> None:
    registry = record().registry
    assert metrics.value("iot_things") == len(registry.things)
    assert metrics.value("iot_thing_groups") == len(registry.groups)
    assert metrics.value("iot_thing_types") == len(registry.types)


def test_jobs_certificates_and_commands_are_counted_once(metrics: Metrics) -> None:
    truth = record().tallies
    for family, name, label in (
        ("job", "iot_job_events_total", "operation"),
        ("job_execution", "iot_job_executions_total", "status"),
        ("command_execution", "iot_command_executions_total", "status"),
    ):
        shown = {kind: count for (kind,), count in metrics.values(name, label).items() if count}
        assert shown == {kind: count for (each, kind), count in truth.items() if each == family}
    assert metrics.value("iot_certificates_registered_total") == truth["certificate", "registered"]


def test_every_line_is_understood_and_every_family_told(metrics: Metrics) -> None:
    events = metrics.values("iot_events_total", "family", "type")
    assert sum(events.values()) == len(RECORDING.read_text().splitlines())
    told = {family for (family, _), count in events.items() if count}
    # AWS has no events of the family "status": it is that of `presence.status_topics`.
    assert told == {family for family, _ in events} - {"status"}
    assert not any(metrics.values("iot_events_rejected_total", "reason").values())


def test_the_recording_has_what_makes_it_hard(metrics: Metrics) -> None:
    ignored = metrics.values("iot_events_ignored_total", "reason")
    assert ignored["duplicate",]
    assert ignored["stale",]
    changes = metrics.values("iot_registry_changes_total", "object", "operation")
    assert all(changes.values())
    assert metrics.value("iot_clients_supposed_online_total") == 1
    assert metrics.values("iot_clients_forgotten_total", "reason")["thing_deleted",]
