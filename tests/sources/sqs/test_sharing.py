"""Recognizing another program on the same queue, and nothing else."""

import random

import pytest

from presenced.events.model import LifecycleEvent
from presenced.sources.sqs.sharing import SharedQueueDetector

WINDOW = 120.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def event(client: int, version: int, connected: bool) -> LifecycleEvent:
    return LifecycleEvent(
        type="connected" if connected else "disconnected",
        timestamp=0,
        client_id=f"c{client}",
        connected=connected,
        version=version,
    )


def fleet(clients=50, rounds=30, step=1):
    """Rounds of events: in each one every client connects or disconnects."""
    for round_ in range(rounds):
        version, connected = step * (round_ // 2), round_ % 2 == 0
        yield [event(client, version, connected) for client in range(clients)]


def observed(rounds, *, every=10.0):
    clock = Clock()
    detector = SharedQueueDetector(clock, window=WINDOW)
    found = []
    for batch in rounds:
        detector.observe(batch)
        clock.now += every
        detector.check()
        found.append(detector.incomplete)
    return found


def kept(rounds, share, keep=lambda event: True, seed=1):
    chance = random.Random(seed)
    for batch in rounds:
        yield [each for each in batch if keep(each) and chance.random() < share]


def test_one_daemon_sees_all():
    assert set(observed(fleet())) == {None}


@pytest.mark.parametrize("share", [1 / 2, 1 / 3, 1 / 4])
def test_a_share_of_the_events(share):
    found = observed(kept(fleet(rounds=60), share))
    assert found[-1] is not None
    # Not before two windows.
    assert not any(found[: int(2 * WINDOW / 10) - 2])


def test_it_ends_when_the_other_program_does():
    shared, alone = kept(fleet(rounds=40), 1 / 2), list(fleet(rounds=80))[40:]
    found = observed([*shared, *alone])
    assert found[39] is not None
    assert found[-1] is None


@pytest.mark.parametrize("share", [0.99, 0.95])
def test_events_that_are_lost_now_and_then(share):
    assert set(observed(kept(fleet(rounds=60), share))) == {None}


@pytest.mark.parametrize("connected", [True, False])
def test_a_rule_for_one_type_of_events(connected):
    rounds = kept(fleet(rounds=60), 1, lambda each: each.connected is connected)
    assert set(observed(rounds)) == {None}


def test_versions_that_aws_skips():
    assert set(observed(fleet(step=3))) == {None}


def test_doubled_and_shuffled_events():
    rounds = list(fleet(rounds=60))
    chance = random.Random(2)
    mixed = []
    for first in range(0, len(rounds), 2):
        both = [*rounds[first], *rounds[first + 1]] * 2
        chance.shuffle(both)
        mixed += [both[: len(both) // 2], both[len(both) // 2 :]]
    assert set(observed(mixed)) == {None}


def test_a_gap_in_time_concerns_all_and_ends():
    rounds = list(fleet(rounds=60))
    assert set(observed([*rounds[:20], *rounds[31:]])) == {None}


def test_a_few_flapping_clients_are_no_evidence():
    assert set(observed(kept(fleet(clients=5, rounds=200), 1 / 2))) == {None}


def test_a_quiet_fleet_takes_longer():
    """One event of a client in half an hour: there is evidence after hours."""
    found = observed(kept(fleet(clients=40, rounds=60), 1 / 2), every=1800.0)
    assert found[-1] is not None
