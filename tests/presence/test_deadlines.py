"""Deadlines against a dictionary that is sorted every time."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from presenced.presence.deadlines import Deadlines


class Item:
    def __init__(self, name: object) -> None:
        self.name = name
        self.deadline: float | None = None


class DeadlinesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[Item] = Deadlines()
        self.items: dict[int, Item] = {}
        self.alive: dict[int, float] = {}
        self.count = 0
        self.now = 0.0

    @rule(
        when=st.floats(0, 100),
        many=st.sampled_from([1, 1, 1, 200]),
        ahead=st.sampled_from([None, 5.0, 30.0]),
    )
    def schedule(self, when: float, many: int, ahead: float | None) -> None:
        for _ in range(many):
            self.count += 1
            item = self.items[self.count] = Item(self.count)
            self.deadlines.schedule(when, item, ahead=ahead)
            self.alive[self.count] = when

    @rule(delay=st.sampled_from([5.0, 30.0]), many=st.sampled_from([1, 200]))
    def schedule_ahead(self, delay: float, many: int) -> None:
        self.schedule(self.now + delay, many, delay)

    @rule(data=st.data(), many=st.sampled_from([1, 1, 150]))
    def cancel(self, data: st.DataObject, many: int) -> None:
        if not self.items:
            return
        first = data.draw(st.sampled_from(sorted(self.items)))
        for number in range(first, first + many):
            if number in self.items:
                self.deadlines.cancel(self.items[number])
                self.alive.pop(number, None)

    @rule(data=st.data(), when=st.floats(0, 100))
    def put_off(self, data: st.DataObject, when: float) -> None:
        if self.alive:
            number = data.draw(st.sampled_from(sorted(self.alive)))
            self.deadlines.schedule(when, self.items[number])
            self.alive[number] = when

    @rule(step=st.floats(0, 50))
    def advance(self, step: float) -> None:
        self.now += step
        expected = sorted((when, item) for item, when in self.alive.items() if when <= self.now)
        fired = [(when, item.name) for when, item in self.deadlines.due(self.now)]
        assert sorted(fired) == expected
        assert [when for when, _ in fired] == [when for when, _ in expected]
        for _, number in expected:
            assert self.items[number].deadline is None
            del self.alive[number]

    @invariant()
    def agrees(self) -> None:
        assert len(self.deadlines) == len(self.alive)
        earliest = min(self.alive.values(), default=math.inf)
        assert self.deadlines.earliest <= earliest
        assert self.deadlines.next == (None if earliest == math.inf else earliest)


DeadlinesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestDeadlines = DeadlinesMachine.TestCase


def test_equal_deadlines_fire_in_the_order_in_which_they_were_scheduled() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    for number in range(10):
        deadlines.schedule(5, Item(number))
    assert [item.name for _, item in deadlines.due(5)] == list(range(10))


def test_deadlines_scheduled_or_cancelled_while_firing_count() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    deadlines.schedule(1, Item("first"))
    cancelled = Item("cancelled")
    deadlines.schedule(2, cancelled)
    fired = []
    for when, item in deadlines.due(10):
        fired.append((when, item.name))
        deadlines.cancel(cancelled)
        if item.name == "first":
            deadlines.schedule(3, Item("second"))
    assert fired == [(1, "first"), (3, "second")]


@pytest.mark.parametrize("ahead", [None, 10**6])
def test_dead_entries_do_not_accumulate(ahead: float | None) -> None:
    """A client that flaps forever schedules and cancels forever."""
    deadlines: Deadlines[Item] = Deadlines()
    deadlines.schedule(10**9, Item("far"))
    flapping = Item("flapping")
    for index in range(10_000):
        deadlines.schedule(10**6 + index, flapping, ahead=ahead)
        deadlines.cancel(flapping)
    assert len(deadlines) == 1
    assert len(deadlines._heap) + sum(len(lane.items) for lane in deadlines._lanes.values()) < 200


def test_unused_delays_leave_no_lane_behind() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    items = [Item(number) for number in range(1000)]
    for delay, item in enumerate(items):
        deadlines.schedule(1000 + delay, item, ahead=delay)
    for item in items:
        deadlines.cancel(item)
    assert len(deadlines._lanes) < 100
