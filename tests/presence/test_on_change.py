"""Changes of what is kept about a client are reported; events that change nothing are not."""

from collections.abc import Callable

import pytest

from histories import lifecycle
from presenced.events.model import LifecycleEvent, RegistryEvent, SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import PresenceRules
from recorders import ChangeRecorder
from registries import member, thing

DELAY, FORGET = 5.0, 100.0
MS = 1000


class Bench:
    """A fleet, and which clients changed since the last look."""

    def __init__(self) -> None:
        self.now = 0.0
        rules = PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET)
        self.fleet = Fleet(rules)
        self.presence = self.fleet.presence

    def receive(
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

    def learn(self, event: RegistryEvent) -> None:
        self.fleet.apply_registry(event, 0.0)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.fleet.fire(self.now, 0.0)

    def subscribe(self) -> None:
        event = SubscriptionEvent(type="subscribed", client_id="a", timestamp=None)
        self.fleet.apply_subscription(event, self.now)

    @property
    def changed(self) -> set[str]:
        recorder = ChangeRecorder()
        recorder.add(self.fleet.take_changes().clients)
        return set(recorder.changed)


def nothing(_: Bench) -> None:
    """No client is known."""


def online(bench: Bench) -> None:
    bench.receive()


def online_again(bench: Bench) -> None:
    bench.receive()
    bench.receive(version=2)


def pending(bench: Bench) -> None:
    bench.receive()
    bench.receive(connected=False)


def offline(bench: Bench) -> None:
    pending(bench)
    bench.wait(DELAY)


def forgotten(bench: Bench) -> None:
    offline(bench)
    bench.wait(FORGET)


def of_a_thing(bench: Bench) -> None:
    bench.learn(thing("a"))


def online_of_a_thing(bench: Bench) -> None:
    of_a_thing(bench)
    online(bench)


def unverified(bench: Bench) -> None:
    bench.receive()
    bench.presence.note_gap(0.0)


def ambiguous_order(bench: Bench) -> None:
    bench.receive(version=None)
    bench.now += 1


Act = Callable[[Bench], None]


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (nothing, lambda bench: bench.receive()),
        (nothing, of_a_thing),
        (nothing, lambda bench: bench.subscribe()),
        (of_a_thing, lambda bench: bench.subscribe()),
        (of_a_thing, lambda bench: bench.receive()),
        (
            of_a_thing,
            lambda bench: bench.learn(thing("a", at=9, type="deleted")),
        ),
        (online, lambda bench: bench.receive(version=2)),
        (online, lambda bench: bench.receive(version=2, thing_name="other")),
        (online, lambda bench: bench.receive(connected=False)),
        (online_again, lambda bench: bench.receive(connected=False)),  # the awaited one
        (online_again, lambda bench: bench.wait(DELAY)),  # which never came
        (
            online_again,
            lambda bench: bench.receive(connected=False, version=0),
        ),  # stale, but counts
        (pending, lambda bench: bench.receive(version=2)),
        (pending, lambda bench: bench.wait(DELAY)),
        (offline, lambda bench: bench.wait(FORGET)),
        (offline, lambda bench: bench.receive(version=2)),
        (offline, lambda bench: bench.fleet.forget("a", "requested")),
        (forgotten, lambda bench: bench.receive(connected=False, version=0)),
        (forgotten, lambda bench: bench.receive(version=2)),
        (unverified, lambda bench: bench.subscribe()),
        (ambiguous_order, lambda bench: bench.receive(version=None)),
    ],
)
def test_a_change_is_reported(before: Act, act: Act) -> None:
    bench = Bench()
    before(bench)
    assert bench.changed == ({"a"} if before is not nothing else set())
    act(bench)
    assert "a" in bench.changed


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (online, lambda bench: bench.receive()),
        (pending, lambda bench: bench.receive(connected=False)),
        (online, lambda bench: bench.subscribe()),
        (lambda bench: bench.subscribe(), lambda bench: bench.subscribe()),
        (forgotten, lambda bench: bench.subscribe()),
        (pending, lambda bench: bench.wait(DELAY - 1)),
        (online, lambda bench: bench.presence.note_gap(0.0)),
        (nothing, lambda bench: bench.fleet.forget("a", "requested")),
        (of_a_thing, of_a_thing),
        (online, of_a_thing),  # the registry describes the client; its row stays as it is
        (
            online_of_a_thing,
            lambda bench: bench.learn(member("hall", "a", at=1)),
        ),
    ],
)
def test_no_change_is_reported_if_nothing_changed(before: Act, act: Act) -> None:
    bench = Bench()
    before(bench)
    assert bench.changed == ({"a"} if before is not nothing else set())
    act(bench)
    assert bench.changed == set()
