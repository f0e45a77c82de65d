"""The life of a fleet: the steps that the demo and `simulate` perform."""

import random
from collections import Counter
from dataclasses import asdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.devices import Ending, kind_name
from presenced_emulator.events import EventMessage
from presenced_emulator.fleet import (
    Connect,
    Disconnect,
    FleetLife,
    FleetPlan,
    Remove,
    Step,
)
from presenced_emulator.registry import Registry


def steps(seconds: float = 120.0, **more: Any) -> list[tuple[float, Step]]:
    """The steps of that many seconds, and when they happen."""
    plan = FleetPlan(**{"devices": 20, "seed": 1, **more})
    life = FleetLife(plan, Registry(random.Random(1)))
    found: list[tuple[float, Step]] = []
    while (at := life.next_at) is not None and at <= seconds:
        found += ((at, step) for step in life.advance(1e9 + at))
    return found


@given(
    st.integers(1, 30), st.integers(), st.booleans(), st.sampled_from([0.0, 9.0]), st.integers(0, 3)
)
def test_steps_are_in_order_and_fit_each_other(
    devices: int, seed: int, changes: bool, silence: float, storms: int
) -> None:
    online: set[str] = set()
    removed: set[str] = set()
    last = 0.0
    more: dict[str, Any] = {"duration": 120.0, "storms": storms} if storms else {}
    for at, step in steps(devices=devices, seed=seed, changes=changes, silence=silence, **more):
        assert at >= last
        last = at
        if isinstance(step, EventMessage):
            continue
        assert step.client_id not in removed
        if isinstance(step, Connect):
            online.add(step.client_id)
        elif isinstance(step, Disconnect):
            online.remove(step.client_id)
        else:
            assert step.client_id not in online
            removed.add(step.client_id)
    assert changes or not removed


def test_all_devices_connect_after_their_things_are_created() -> None:
    created = set()
    connected = set()
    for _, step in steps():
        if isinstance(step, EventMessage):
            created.add(step.fields.get("thingName"))
        elif isinstance(step, Connect):
            assert step.client_id.replace("/", "-") in created
            connected.add(step.client_id)
    assert len(connected) == 20


def test_changes_replace_devices() -> None:
    kinds = Counter(type(step) for _, step in steps(changes=True))
    assert kinds[Remove] >= 10
    assert kinds[EventMessage] > 60
    assert not any(isinstance(step, Remove) for _, step in steps())


def test_a_silent_device_stays_away_until_the_broker_has_noticed() -> None:
    went: dict[str, float] = {}
    for at, step in steps(600.0, silence=9.0):
        if isinstance(step, Disconnect) and step.ending is Ending.SILENCE:
            went[step.client_id] = at
        elif isinstance(step, Connect) and step.client_id in went:
            assert at - went.pop(step.client_id) >= 9.0


def test_no_step_after_the_duration() -> None:
    assert 25 < max(at for at, _ in steps(1000.0, duration=30.0)) <= 30


def test_a_calm_fleet_connects_whole_before_any_connection_ends() -> None:
    plan = FleetPlan(devices=200, seed=1, calm=True, changes=True)
    all_connected = plan.first_connect(200)
    before = [step for at, step in steps(60, **asdict(plan)) if at < all_connected]
    connects = [step.client_id for step in before if isinstance(step, Connect)]
    assert len(connects) == len(set(connects)) == 200
    assert not [step for step in before if isinstance(step, Disconnect | Remove)]
    assert [at for at, step in steps(60, **asdict(plan)) if isinstance(step, Disconnect)]


def test_kinds_of_devices() -> None:
    found = steps(kinds=("sensor", "camera"), changes=True)
    names = {step.client_id for _, step in found if isinstance(step, Connect)}
    assert {kind_name(name) for name in names} == {"sensor", "camera"}
