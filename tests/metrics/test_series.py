"""Text of the per-client series."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from described_fleet import DescribedFleet
from presenced.fleet import Description
from presenced.metrics.series import ClientSeries
from presenced.presence import Client, State
from presenced.system import log


def client(client_id: str, state: State = State.ONLINE, transition: float = 1.5) -> Client:
    made = Client(client_id)
    made.state, made.transition = state, transition
    return made


def samples(series: ClientSeries) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(
            b"".join(block.text for block in series.blocks()).decode()
        )
        for sample in family.samples
    }


def test_samples_of_a_client() -> None:
    series = DescribedFleet().series()
    series.show(client("a", State.PENDING, 1672742949.25))
    series.show(client("b", State.OFFLINE, 2.0))
    assert samples(series) == {
        ("iot_client_connected", (("client_id", "a"),)): 1,
        ("iot_client_connected", (("client_id", "b"),)): 0,
        ("iot_client_info", (("client_id", "a"), ("thing_type", ""))): 1,
        ("iot_client_info", (("client_id", "b"), ("thing_type", ""))): 1,
        ("iot_client_last_transition_timestamp_seconds", (("client_id", "a"),)): 1672742949.25,
        ("iot_client_last_transition_timestamp_seconds", (("client_id", "b"),)): 2.0,
    }


def test_a_change_is_rendered_and_a_forgotten_client_is_removed() -> None:
    series = DescribedFleet().series()
    series.show(client("a"))
    assert samples(series)["iot_client_connected", (("client_id", "a"),)] == 1
    series.show(client("a", State.OFFLINE))
    assert samples(series)["iot_client_connected", (("client_id", "a"),)] == 0
    series.drop(client("a"))
    series.drop(client("never shown"))
    assert samples(series) == {}


def test_there_is_no_series_if_they_are_disabled() -> None:
    series = DescribedFleet().series(per_client=False)
    series.show(client("a"))
    assert list(series.blocks()) == []


def test_a_client_gets_series_when_another_is_forgotten() -> None:
    series = DescribedFleet().series(max_clients=2)
    for name in "abc":
        series.show(client(name))
    series.show(client("a", State.OFFLINE))
    assert ids(series) == {"a", "b"}, "clients with series keep them"
    series.drop(client("b"))
    series.show(client("c"))
    assert ids(series) == {"a", "c"}
    assert series.shown == 2


def ids(series: ClientSeries) -> set[str]:
    return {dict(labels)["client_id"] for _, labels in samples(series)}


def test_clients_without_series_wait_for_a_free_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")
    fleet = DescribedFleet()
    clients = fleet.clients
    clients.update((name, client(name)) for name in "abcdefg")
    series = fleet.series(max_clients=2)
    for name in "abcde":
        series.show(clients[name])
    clients["d"].state = State.OFFLINE
    series.show(clients["d"])
    series.drop(clients.pop("c"))
    assert ids(series) == {"a", "b"}
    series.drop(clients.pop("a"))
    assert ids(series) == {"b", "d"}, "a waiting client is taken at once, a forgotten one is not"
    assert samples(series)["iot_client_connected", (("client_id", "d"),)] == 0, "as it is now"
    series.drop(clients.pop("d"))
    assert ids(series) == {"b", "e"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["value"] == 2
    series.drop(clients.pop("b"))
    series.show(clients["f"])
    series.show(clients["g"])
    assert len(capsys.readouterr().err.splitlines()) == 1, "the limit was reached again"


def test_clients_that_are_forgotten_together_leave_no_place_free() -> None:
    fleet = DescribedFleet()
    clients = fleet.clients
    clients.update((name, client(name)) for name in "abcde")
    series = fleet.series(max_clients=2)
    for each in clients.values():
        series.show(each)
    forgotten = [clients.pop(name) for name in "ac"]
    clients["d"] = Client("d")  # forgotten too; a thing of this name exists
    for each in forgotten:
        series.drop(each)
    assert ids(series) == {"b", "e"}


names = st.text("ab-", max_size=3)


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from(["show", "drop"]), names), max_size=60),
    st.randoms(use_true_random=False),
)
def test_which_clients_have_series_depends_on_neither_order_nor_restart(
    limit: int, steps: list[tuple[str, str]], random: Random
) -> None:
    fleet = DescribedFleet()
    clients = fleet.clients
    series = fleet.series(max_clients=limit)
    for step, name in steps:
        if step == "show":
            series.show(clients.setdefault(name, client(name)))
        elif name in clients:
            series.drop(clients.pop(name))
        assert ids(series) == set(sorted(clients)[:limit])
        assert series.shown == len(ids(series))
    restarted = fleet.series(max_clients=limit)
    for restored in random.sample(sorted(clients), len(clients)):
        restarted.show(clients[restored])
    assert ids(restarted) == ids(series)


def test_a_client_without_a_transition_has_no_series() -> None:
    series = DescribedFleet().series()
    series.show(Client("a"))
    assert samples(series) == {}


def test_the_info_labels_follow_the_registry() -> None:
    fleet = DescribedFleet()
    fleet.descriptions["a"] = Description("pump", {"site": "north", "x": None})
    series = fleet.series(thing_attributes=("site", "x", "client-id"))
    series.show(client("a"))

    def info() -> list[dict[str, str]]:
        return [dict(labels) for name, labels in samples(series) if name == "iot_client_info"]

    empty = {"client_id": "a", "client_id_2": "", "site": "", "thing_type": "", "x": ""}
    assert info() == [empty | {"site": "north", "thing_type": "pump"}]
    fleet.descriptions["a"] = Description("valve", {"client-id": "7"})
    series.describe(client("a"))
    series.describe(client("without series"))
    assert info() == [empty | {"client_id_2": "7", "thing_type": "valve"}]


def test_named_groups_become_labels() -> None:
    series = DescribedFleet().series(client_id_pattern=r"^(?P<kind>[a-z]+)-(?P<site>\w+)?")
    series.show(client("pump-north"))
    series.show(client("pump-"))
    series.show(client("7"))
    shown = [dict(labels) for name, labels in samples(series) if name == "iot_client_connected"]
    assert shown == [
        {"client_id": "pump-north", "kind": "pump", "site": "north"},
        {"client_id": "pump-", "kind": "pump"},
        {"client_id": "7"},
    ]


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)))
def test_any_client_id_survives_the_format(names: set[str]) -> None:
    # The parser of prometheus_client splits at more line ends than the format knows.
    names = {name for name in names if len(name.splitlines() or [name]) == 1 or "\n" in name}
    names = {n for n in names if not set(n) & set("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")}
    series = DescribedFleet().series()
    for name in names:
        series.show(client(name))
    shown = {
        dict(labels)["client_id"] for name, labels in samples(series) if name.endswith("connected")
    }
    assert shown == names
