from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.devices import AWAY, KINDS, Act, Ending, client_ids, script

fleets = st.integers(1, 40).map(client_ids)


def acts(client_id: str, seed: int, count: int = 50) -> list[Act]:
    return list(islice(script(client_id, seed), count))


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
def test_acts_keep_within_their_bounds(fleet: list[str], seed: int) -> None:
    for act in acts(fleet[-1], seed):
        shortest, longest = AWAY[act.ending]
        assert shortest <= act.away <= longest
        assert act.stay > 0


@given(fleets, st.integers())
def test_same_seed_same_life(fleet: list[str], seed: int) -> None:
    assert acts(fleet[-1], seed) == acts(fleet[-1], seed)


def test_lives_differ() -> None:
    assert acts("sensor-0001", 1) != acts("sensor-0005", 1)
    assert acts("sensor-0001", 1) != acts("sensor-0001", 2)


def test_every_ending_occurs_and_most_devices_are_online() -> None:
    fleet = [act for name in client_ids(50) for act in acts(name, 1)]
    assert {act.ending for act in fleet} == set(Ending)
    online, away = sum(act.stay for act in fleet), sum(act.away for act in fleet)
    assert online / (online + away) > 0.7


def test_every_kind_can_do_something() -> None:
    assert all(sum(weights) > 0 for weights in KINDS.values())
