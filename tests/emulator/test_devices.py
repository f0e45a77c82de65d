import re
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.devices import (
    KINDS,
    Ending,
    PlannedConnection,
    client_ids,
    kind_name,
    kind_of,
    plan_connections,
    thing_name,
)

fleets = st.integers(1, 40).map(client_ids)


def planned(client_id: str, seed: int, count: int = 50) -> list[PlannedConnection]:
    return list(islice(plan_connections(client_id, seed, kind_of(client_id).endings), count))


def test_names() -> None:
    assert client_ids(5) == [
        "sensor-0001",
        "gateway-0002",
        "camera-0003",
        "plant/pump-0004",
        "sensor-0005",
    ]


@given(st.integers(0, 3000))
def test_names_are_unique(count: int) -> None:
    assert len(set(client_ids(count))) == count


@given(fleets, st.integers())
def test_planned_connections_keep_within_their_bounds(fleet: list[str], seed: int) -> None:
    for each in planned(fleet[-1], seed):
        shortest, longest = each.ending.away
        assert shortest <= each.away <= longest
        assert each.duration > 0


@given(fleets, st.integers())
def test_same_seed_same_connections(fleet: list[str], seed: int) -> None:
    assert planned(fleet[-1], seed) == planned(fleet[-1], seed)


def test_devices_differ() -> None:
    assert planned("sensor-0001", 1) != planned("sensor-0005", 1)
    assert planned("sensor-0001", 1) != planned("sensor-0001", 2)


def test_every_ending_occurs_and_most_devices_are_online() -> None:
    fleet = [each for name in client_ids(50) for each in planned(name, 1)]
    assert {each.ending for each in fleet} == set(Ending)
    online, away = sum(each.duration for each in fleet), sum(each.away for each in fleet)
    assert online / (online + away) > 0.7


def test_every_kind_can_do_something_and_has_another_model() -> None:
    for kind in KINDS.values():
        assert sum(kind.endings) > 0
        assert len(set(kind.models)) > 1
    assert len({kind.thing_type for kind in KINDS.values()}) == 3
    assert {kind_name(client_id) for client_id in client_ids(8)} == KINDS.keys()


def test_names_of_things_are_what_aws_allows_and_unique() -> None:
    names = [thing_name(client_id) for client_id in client_ids(200)]
    assert len(set(names)) == 200
    assert all(re.fullmatch("[a-zA-Z0-9:_-]+", name) for name in names)
    assert thing_name("plant/pump-0004") == "plant-pump-0004"
