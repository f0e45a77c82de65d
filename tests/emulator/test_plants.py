import re

import pytest

from presenced_emulator import devices as plants
from presenced_emulator.devices import KINDS, client_ids


def test_there_are_three_types_and_every_kind_has_one() -> None:
    assert len(set(plants.TYPES.values())) == 3
    assert plants.TYPES.keys() == plants.MODELS.keys() == KINDS.keys()
    assert {plants.kind_of(client_id) for client_id in client_ids(8)} == KINDS.keys()


def test_names_of_things_are_what_aws_allows_and_unique() -> None:
    names = [plants.thing(client_id) for client_id in client_ids(200)]
    assert len(set(names)) == 200
    assert all(re.fullmatch("[a-zA-Z0-9:_-]+", name) for name in names)
    assert plants.thing("plant/pump-0004") == "plant-pump-0004"


@pytest.mark.parametrize(("things", "count"), [(1, 4), (100, 4), (101, 5), (3000, 120)])
def test_halls_grow_with_the_fleet(things: int, count: int) -> None:
    halls = plants.halls(things)
    assert len(set(halls)) == count


def test_every_fleet_has_spares() -> None:
    assert [plants.spares(devices) for devices in (1, 20, 50)] == [1, 2, 5]


def test_every_kind_can_be_refitted() -> None:
    assert all(len(set(models)) > 1 for models in plants.MODELS.values())
