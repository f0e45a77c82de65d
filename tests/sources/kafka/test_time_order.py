"""The order of time over partitions: nothing is given out that an earlier message can follow."""

from collections.abc import Iterable
from random import Random

import pytest

from presenced.events.message import Message
from presenced.sources.kafka.time_order import Place, TimeOrder

A, B = Place("events", 0), Place("events", 1)


def messages(first: int, received: Iterable[float]) -> list[Message]:
    """Messages of a partition from an offset on."""
    return [
        Message("topic", b"", 1, at, at, offset=first + number)
        for number, at in enumerate(received)
    ]


def times(taken: Iterable[Message]) -> list[float]:
    return [message.received for message in taken]


@pytest.fixture
def order() -> TimeOrder:
    return TimeOrder({A: 0, B: 0})


def test_a_message_waits_for_the_other_partition(order: TimeOrder) -> None:
    order.add(A, messages(0, [1.0, 3.0]), 100.0)
    assert order.take() == []
    order.add(B, messages(0, [2.0]), 101.0)
    assert times(order.take()) == [1.0, 2.0]
    assert order.waiting == 1


def test_the_end_of_a_partition_counts_if_it_was_asked_for_after_the_message(
    order: TimeOrder,
) -> None:
    order.add_end(B, 99.0, 0)
    order.add(A, messages(0, [1.0]), 100.0)
    assert order.take() == []
    order.add_end(B, 101.0, 0)
    assert times(order.take()) == [1.0]


def test_an_end_counts_when_it_is_reached(order: TimeOrder) -> None:
    order.add(A, messages(0, [5.0]), 100.0)
    order.add_end(B, 101.0, 3)
    assert order.take() == []
    order.add(B, messages(0, [1.0]), 102.0)
    assert times(order.take()) == [1.0]
    order.move(B, 3)  # transactions end there
    assert times(order.take()) == [5.0]


def test_what_waits_at_the_end_comes_in_order(order: TimeOrder) -> None:
    order.add(A, messages(0, [5.0, 6.0]), 100.0)
    order.add(B, messages(0, [4.0, 7.0]), 100.0)
    assert times(order.drain()) == [4.0, 5.0, 6.0, 7.0]
    assert order.waiting == 0
    assert order.positions == {A: 2, B: 2}


def test_it_tells_up_to_when_everything_has_been_read(order: TimeOrder) -> None:
    order.add_end(A, 100.0, 0)
    order.add_end(B, 99.0, 0)
    assert order.reached == 99.0
    order.add(A, messages(0, [1.0]), 101.0)
    assert order.reached == float("-inf")


@pytest.mark.parametrize("seed", range(20))
def test_records_of_many_partitions_come_in_the_order_in_which_they_entered(seed: int) -> None:
    random = Random(seed)
    places = [Place("events", number) for number in range(5)]
    log: dict[Place, list[float]] = {place: [] for place in places}
    read = dict.fromkeys(places, 0)
    order, taken, now = TimeOrder(dict.fromkeys(places, 0)), [], 0.0
    written = 0
    while written < 300 or order.waiting or any(read[p] < len(log[p]) for p in places):
        now += 1.0
        if written < 300:
            log[random.choice(places)].append(now)
            written += 1
        place = random.choice(places)
        if random.random() < 0.5:
            order.add_end(place, now, len(log[place]))
        elif new := log[place][read[place] :][: random.randint(1, 20)]:
            order.add(place, messages(read[place], new), now)
            read[place] += len(new)
        taken += times(order.take())
    assert taken == sorted(taken)
    assert len(taken) == 300
