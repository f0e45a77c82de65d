"""In whatever order registry events arrive, the inventory ends in the same, true state."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.events.model import RegistryEvent
from presenced.registry import Outcome
from registry.census import Census
from registry.life import Registry, seen, truth

# Lives of true chance are more varied than those that hypothesis would draw number by number.
RANDOMS = st.randoms(use_true_random=True)


def life(random: Random, steps: int = 120) -> Registry:
    registry = Registry(random)
    for _ in range(random.randrange(1, steps)):
        registry.step()
    return registry


def shuffled(random: Random, events: list[RegistryEvent]) -> list[RegistryEvent]:
    """Events in any order, some of them twice."""
    again = [random.choice(events) for _ in range(random.randrange(8))] if events else []
    mixed = [*events, *again]
    random.shuffle(mixed)
    return mixed


@settings(max_examples=1000, deadline=None)
@given(RANDOMS)
def test_every_order_of_arrival_ends_in_the_truth(random: Random) -> None:
    registry = life(random)
    census = Census()
    census.learn(shuffled(random, registry.events))
    assert seen(census.inventory) == truth(registry)
    assert +census.counted == census.recount()


@settings(max_examples=1000, deadline=None)
@given(RANDOMS)
def test_what_was_lost_is_lost_the_same_way_in_every_order(random: Random) -> None:
    events = [event for event in life(random).events if random.random() < 0.7]
    one, other = Census(), Census()
    one.learn(shuffled(random, events))
    other.learn(shuffled(random, events))
    assert seen(one.inventory) == seen(other.inventory)
    assert +one.counted == one.recount()
    assert +one.counted == +other.counted


@settings(deadline=None)
@given(RANDOMS)
def test_in_the_true_order_nothing_is_stale_and_repetitions_change_nothing(random: Random) -> None:
    registry = life(random)
    census = Census()
    census.learn(registry.events)
    before = seen(census.inventory)
    repeated = census.learn(registry.events)
    assert repeated[Outcome.APPLIED] == repeated[Outcome.EXCESS] == 0
    assert seen(census.inventory) == before == truth(registry)
