"""Whatever changes what is known of a client is told, and what changes nothing mostly is not."""

from collections.abc import Callable

import pytest

from histories import lifecycle
from presenced.events.model import LifecycleEvent, SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import PresenceRules
from registries import thing

DELAY, FORGET = 5.0, 100.0
MS = 1000


class Told:
    """A fleet, and of which clients it told a change since the last look."""

    def __init__(self) -> None:
        self.now = 0.0
        self._told: list[str] = []
        rules = PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET)
        self.fleet = Fleet(rules)
        self.presence = self.fleet.presence
        self.presence.on_change = self._told.append

    def tell(
        self, *, connected: bool = True, version: int | None = 1, thing_name: str | None = None
    ) -> None:
        event: LifecycleEvent = lifecycle(
            connected=connected,
            timestamp=round(self.now * MS),
            version=version,
            session=f"s{version}",
            client_id="a",
        )
        event.thing_name = thing_name
        self.fleet.apply(event, self.now, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.presence.advance(self.now, 0.0)

    def subscribe(self) -> None:
        event = SubscriptionEvent(type="subscribed", client_id="a", timestamp=None)
        self.fleet.hear_subscription(event, self.now)

    @property
    def news(self) -> set[str]:
        told = set(self._told)
        self._told.clear()
        return told


def nothing(_: Told) -> None:
    """No one is known."""


def online(it: Told) -> None:
    it.tell()


def online_again(it: Told) -> None:
    it.tell()
    it.tell(version=2)


def pending(it: Told) -> None:
    it.tell()
    it.tell(connected=False)


def offline(it: Told) -> None:
    pending(it)
    it.wait(DELAY)


def forgotten(it: Told) -> None:
    offline(it)
    it.wait(FORGET)


def of_a_thing(it: Told) -> None:
    it.fleet.learn(thing("a"), 0.0)


def doubted(it: Told) -> None:
    it.tell()
    it.presence.doubt(0.0)


def in_doubt_about_order(it: Told) -> None:
    it.tell(version=None)


Act = Callable[[Told], None]


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (nothing, lambda it: it.tell()),
        (nothing, of_a_thing),
        (nothing, lambda it: it.subscribe()),
        (of_a_thing, lambda it: it.subscribe()),
        (of_a_thing, lambda it: it.tell()),
        (of_a_thing, lambda it: it.fleet.learn(thing("a", at=9, type="deleted"), 0.0)),
        (online, lambda it: it.tell(version=2)),
        (online, lambda it: it.tell(version=2, thing_name="other")),
        (online, lambda it: it.tell(connected=False)),
        (online_again, lambda it: it.tell(connected=False)),  # the awaited one
        (online_again, lambda it: it.wait(DELAY)),  # which never came
        (online_again, lambda it: it.tell(connected=False, version=0)),  # stale, but counted once
        (pending, lambda it: it.tell(version=2)),
        (pending, lambda it: it.wait(DELAY)),
        (offline, lambda it: it.wait(FORGET)),
        (offline, lambda it: it.tell(version=2)),
        (offline, lambda it: it.presence.forget("a", "requested")),
        (forgotten, lambda it: it.tell(connected=False, version=0)),
        (forgotten, lambda it: it.tell(version=2)),
        (doubted, lambda it: it.subscribe()),
        (in_doubt_about_order, lambda it: it.tell(version=None)),  # seen, and remembered
    ],
)
def test_a_change_is_told(before: Act, act: Act) -> None:
    it = Told()
    before(it)
    assert it.news == ({"a"} if before is not nothing else set())
    act(it)
    assert "a" in it.news


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (online, lambda it: it.tell()),
        (pending, lambda it: it.tell(connected=False)),
        (online, lambda it: it.subscribe()),
        (lambda it: it.subscribe(), lambda it: it.subscribe()),
        (forgotten, lambda it: it.subscribe()),
        (pending, lambda it: it.wait(DELAY - 1)),
        (online, lambda it: it.presence.doubt(0.0)),
        (nothing, lambda it: it.presence.forget("a", "requested")),
        (of_a_thing, of_a_thing),
    ],
)
def test_what_changes_nothing_is_not_told(before: Act, act: Act) -> None:
    it = Told()
    before(it)
    assert it.news == ({"a"} if before is not nothing else set())
    act(it)
    assert it.news == set()
