"""Deadlines against a dictionary that is sorted every time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from presenced.presence.deadlines import Deadlines


class DeadlinesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[int] = Deadlines()
        self.handles = {}
        self.alive: dict[int, float] = {}
        self.count = 0
        self.now = 0.0

    @rule(when=st.floats(0, 100), many=st.sampled_from([1, 1, 1, 200]))
    def schedule(self, when: float, many: int) -> None:
        for _ in range(many):
            self.count += 1
            self.handles[self.count] = self.deadlines.schedule(when, self.count)
            self.alive[self.count] = when

    @rule(data=st.data(), many=st.sampled_from([1, 1, 150]))
    def cancel(self, data: st.DataObject, many: int) -> None:
        if not self.handles:
            return
        first = data.draw(st.sampled_from(sorted(self.handles)))
        for item in range(first, first + many):
            if item in self.handles:
                self.deadlines.cancel(self.handles[item])
                self.alive.pop(item, None)

    @rule(step=st.floats(0, 50))
    def advance(self, step: float) -> None:
        self.now += step
        expected = sorted((when, item) for item, when in self.alive.items() if when <= self.now)
        assert list(self.deadlines.due(self.now)) == expected
        for _, item in expected:
            del self.alive[item]

    @invariant()
    def agrees(self) -> None:
        assert len(self.deadlines) == len(self.alive)
        assert self.deadlines.next == min(self.alive.values(), default=None)


DeadlinesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestDeadlines = DeadlinesMachine.TestCase


def test_what_is_scheduled_or_cancelled_while_firing_counts() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.schedule(1, "first")
    cancelled = deadlines.schedule(2, "cancelled")
    fired = []
    for when, item in deadlines.due(10):
        fired.append((when, item))
        deadlines.cancel(cancelled)
        if item == "first":
            deadlines.schedule(3, "second")
    assert fired == [(1, "first"), (3, "second")]


def test_the_dead_do_not_pile_up() -> None:
    """A client that flaps for ever schedules and cancels for ever."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.schedule(10**9, 0)
    for index in range(10_000):
        deadlines.cancel(deadlines.schedule(10**6 + index, index))
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200
