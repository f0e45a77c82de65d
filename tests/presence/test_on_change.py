"""What changes anything kept of a client is reported, and what changes nothing mostly is not."""

from collections.abc import Callable

import pytest

from histories import lifecycle
from presenced.events.model import LifecycleEvent, SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import PresenceRules
from recorders import ChangeRecorder
from registries import member, thing

DELAY, FORGET = 5.0, 100.0
MS = 1000


class Watched:
    """A fleet, and which clients changed since the last look."""

    def __init__(self) -> None:
        self.now = 0.0
        rules = PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET)
        self.fleet = Fleet(rules)
        self.presence = self.fleet.presence

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
        self.fleet.fire(self.now, 0.0)

    def subscribe(self) -> None:
        event = SubscriptionEvent(type="subscribed", client_id="a", timestamp=None)
        self.fleet.apply_subscription(event, self.now)

    @property
    def news(self) -> set[str]:
        recorder = ChangeRecorder()
        recorder.add(self.fleet.take_changes().clients)
        return set(recorder.changed)


def nothing(_: Watched) -> None:
    """No one is known."""


def online(it: Watched) -> None:
    it.tell()


def online_again(it: Watched) -> None:
    it.tell()
    it.tell(version=2)


def pending(it: Watched) -> None:
    it.tell()
    it.tell(connected=False)


def offline(it: Watched) -> None:
    pending(it)
    it.wait(DELAY)


def forgotten(it: Watched) -> None:
    offline(it)
    it.wait(FORGET)


def of_a_thing(it: Watched) -> None:
    it.fleet.apply_registry(thing("a"), 0.0)


def online_of_a_thing(it: Watched) -> None:
    of_a_thing(it)
    online(it)


def doubted(it: Watched) -> None:
    it.tell()
    it.presence.note_gap(0.0)


def in_doubt_about_order(it: Watched) -> None:
    it.tell(version=None)


Act = Callable[[Watched], None]


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (nothing, lambda it: it.tell()),
        (nothing, of_a_thing),
        (nothing, lambda it: it.subscribe()),
        (of_a_thing, lambda it: it.subscribe()),
        (of_a_thing, lambda it: it.tell()),
        (of_a_thing, lambda it: it.fleet.apply_registry(thing("a", at=9, type="deleted"), 0.0)),
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
        (offline, lambda it: it.fleet.forget("a", "requested")),
        (forgotten, lambda it: it.tell(connected=False, version=0)),
        (forgotten, lambda it: it.tell(version=2)),
        (doubted, lambda it: it.subscribe()),
        (in_doubt_about_order, lambda it: it.tell(version=None)),  # seen, and remembered
    ],
)
def test_a_change_is_reported(before: Act, act: Act) -> None:
    it = Watched()
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
        (online, lambda it: it.presence.note_gap(0.0)),
        (nothing, lambda it: it.fleet.forget("a", "requested")),
        (of_a_thing, of_a_thing),
        (online, of_a_thing),  # the registry describes the client; its row stays as it is
        (online_of_a_thing, lambda it: it.fleet.apply_registry(member("hall", "a", at=1), 0.0)),
    ],
)
def test_what_changes_nothing_is_not_reported(before: Act, act: Act) -> None:
    it = Watched()
    before(it)
    assert it.news == ({"a"} if before is not nothing else set())
    act(it)
    assert it.news == set()
