"""Transitions, to those who listen."""

import asyncio
import math

import pytest

from presenced.presence import State, Transition
from presenced.web.api import stream
from presenced.web.api.stream import FullError, Hub, Subscriber, Wanted


def transition(client_id: str = "a", state: State = State.ONLINE) -> Transition:
    return Transition(2.0, 1.0, client_id, State.UNKNOWN, state, None)


def listen(hub: Hub, last: str | None = None, **wanted: object) -> Subscriber:
    return hub.subscribe(Wanted(**wanted), lambda: True, last)


def names(subscriber: Subscriber) -> list[str]:
    return [told.transition.client_id for told in subscriber.take(10_000)[1]]


def test_whoever_listens_is_told_what_he_wants():
    hub = Hub()
    everything = listen(hub)
    one, some = listen(hub, client_id="a1"), listen(hub, prefix="a")
    offline = listen(hub, states=frozenset({State.OFFLINE}))
    for name, state in (("a1", State.ONLINE), ("a2", State.OFFLINE), ("b", State.ONLINE)):
        hub.tell(transition(name, state))
    assert names(everything) == ["a1", "a2", "b"]
    assert (names(one), names(some), names(offline)) == (["a1"], ["a1", "a2"], ["a2"])
    assert names(everything) == []


def test_whoever_is_slow_loses_the_oldest_and_is_told_how_many():
    hub = Hub()
    slow = listen(hub)
    for number in range(1005):
        hub.tell(transition(str(number)))
    lost, told = slow.take(2000)
    assert lost == 5
    assert [each.transition.client_id for each in told] == [str(n) for n in range(5, 1005)]
    hub.tell(transition("next"))
    assert slow.take(10) == (0, [(1006, transition("next"))])


def test_whoever_comes_back_is_told_what_came_meanwhile():
    hub = Hub()
    for name in "abc":
        hub.tell(transition(name))
    seen = hub.now
    assert names(listen(hub, seen)) == []
    hub.tell(transition("d"))
    hub.tell(transition("e"))
    back = listen(hub, seen, client_id="e")
    hub.tell(transition("e"))
    lost, told = back.take(10)
    assert lost == 0
    assert [hub.id_of(each.number) for each in told] == [hub.id_of(5), hub.id_of(6)]


def test_whoever_comes_back_late_is_told_how_much_he_has_missed():
    hub = Hub()
    hub.tell(transition("first"))
    seen = hub.now
    for number in range(1003):
        hub.tell(transition(str(number)))
    lost, told = listen(hub, seen).take(2000)
    assert (lost, len(told), told[0].transition.client_id) == (3, 1000, "3")


@pytest.mark.parametrize(
    "last", ["", "x", "x-1", "-1", "{name}-", "{name}-9", "{name}--1", "{name}-²"]
)
def test_an_id_of_another_life_tells_that_nobody_knows_what_was_missed(last):
    hub = Hub()
    hub.tell(transition())
    subscriber = listen(hub, last.format(name=hub.now.partition("-")[0]))
    asyncio.run(subscriber.wait(math.inf))  # which returns, because there is something to tell
    assert subscriber.take(10) == (math.inf, [])


def test_as_many_listen_as_may(monkeypatch):
    monkeypatch.setattr(stream, "_MOST_SUBSCRIBERS", 2)
    hub = Hub()
    gone = False
    hub.subscribe(Wanted(), lambda: not gone)
    second = listen(hub)
    with pytest.raises(FullError):
        listen(hub)
    hub.leave(second)
    hub.leave(second)
    listen(hub)
    gone = True
    listen(hub)
    assert len(hub) == 2


def test_waiting_ends_with_news_with_time_and_with_the_end():
    async def run() -> None:
        hub = Hub()
        subscriber = listen(hub)
        await subscriber.wait(0.0)
        assert subscriber.take(5) == (0, [])
        waiting = asyncio.create_task(subscriber.wait(60.0))
        await asyncio.sleep(0)
        hub.tell(transition())
        await waiting
        assert len(subscriber.take(5)[1]) == 1
        waiting = asyncio.create_task(subscriber.wait(60.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.close()
        await waiting
        assert subscriber.closed
        with pytest.raises(FullError):
            listen(hub)

    asyncio.run(run())
