"""The hub of transitions and its subscribers."""

import asyncio
import math

import pytest

from api_fleet import has_room
from presenced.presence import State, Transition
from presenced.web.api.problems import ProblemError
from presenced.web.api.stream import Hub, StreamEvent, Subscriber


def transition(client_id: str = "a", state: State = State.ONLINE) -> Transition:
    return Transition(2.0, 1.0, client_id, State.UNKNOWN, state, None)


def everything(_: Transition) -> bool:
    return True


def listen(hub: Hub, last: str | None = None, selects=everything) -> Subscriber:
    return hub.subscribe(selects, last)


def names(subscriber: Subscriber) -> list[str]:
    return [event.transition.client_id for event in subscriber.take(10_000)[1]]


def test_a_subscriber_receives_what_it_selects():
    hub = Hub()
    unfiltered, offline = listen(hub), listen(hub, selects=lambda each: each.state == "offline")
    for name, state in (("a1", State.ONLINE), ("a2", State.OFFLINE), ("b", State.ONLINE)):
        hub.publish(transition(name, state))
    assert names(unfiltered) == ["a1", "a2", "b"]
    assert names(offline) == ["a2"]
    assert names(unfiltered) == []


def test_a_slow_subscriber_loses_the_oldest_and_learns_how_many():
    hub = Hub()
    slow = listen(hub)
    for number in range(1005):
        hub.publish(transition(str(number)))
    lost, events = slow.take(2000)
    assert lost == 5
    assert [each.transition.client_id for each in events] == [str(n) for n in range(5, 1005)]
    hub.publish(transition("next"))
    assert slow.take(10) == (0, [StreamEvent(hub.last_id, transition("next"))])


def test_a_subscriber_that_comes_back_receives_what_it_missed():
    hub = Hub()
    for name in "abc":
        hub.publish(transition(name))
    seen = hub.last_id
    assert names(listen(hub, seen)) == []
    hub.publish(transition("d"))
    hub.publish(transition("e"))
    back = listen(hub, seen, selects=lambda each: each.client_id == "e")
    hub.publish(transition("e"))
    lost, events = back.take(10)
    assert lost == 0
    assert [each.id.rpartition("-")[2] for each in events] == ["5", "6"]


def test_a_subscriber_that_comes_back_learns_how_many_were_skipped():
    hub = Hub()
    hub.publish(transition("a"))
    last = hub.last_id
    current = listen(hub)
    hub.skip(2)
    hub.publish(transition("b"))
    for subscriber in (current, listen(hub, last)):
        lost, events = subscriber.take(10)
        assert (lost, [event.transition.client_id for event in events]) == (2, ["b"])


def test_a_subscriber_that_comes_back_late_learns_how_many_it_lost():
    hub = Hub()
    hub.publish(transition("first"))
    seen = hub.last_id
    for number in range(1003):
        hub.publish(transition(str(number)))
    lost, events = listen(hub, seen).take(2000)
    assert (lost, len(events), events[0].transition.client_id) == (3, 1000, "3")


@pytest.mark.parametrize(
    "last", ["", "x", "x-1", "-1", "{name}-", "{name}-9", "{name}--1", "{name}-²"]
)
def test_after_an_unknown_id_the_number_of_lost_events_is_unknown(last):
    hub = Hub()
    hub.publish(transition())
    subscriber = listen(hub, last.format(name=hub.last_id.partition("-")[0]))
    asyncio.run(subscriber.wait(math.inf))  # which returns, because there is something to tell
    assert subscriber.take(10) == (math.inf, [])


def test_the_number_of_subscribers_is_limited():
    hub = Hub(max_subscribers=2)
    listen(hub)
    second = listen(hub)
    with pytest.raises(ProblemError):
        listen(hub)
    hub.unsubscribe(second)
    hub.unsubscribe(second)
    listen(hub)
    assert not has_room(hub)


def test_waiting_ends_with_news_with_time_and_with_the_end():
    async def run() -> None:
        hub = Hub()
        subscriber = listen(hub)
        await subscriber.wait(0.0)
        assert subscriber.take(5) == (0, [])
        waiting = asyncio.create_task(subscriber.wait(60.0))
        await asyncio.sleep(0)
        hub.publish(transition())
        await waiting
        assert len(subscriber.take(5)[1]) == 1
        waiting = asyncio.create_task(subscriber.wait(60.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.close()
        await waiting
        assert subscriber.closed
        with pytest.raises(ProblemError):
            listen(hub)

    asyncio.run(run())
