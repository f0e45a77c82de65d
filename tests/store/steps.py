"""Steps that any process can take: events, time, requests, gaps."""

from collections.abc import Callable
from random import Random

from hypothesis import strategies as st

from fleet_process import DELAY, FORGET, FleetProcess
from histories import lifecycle
from presenced.events.model import LifecycleEvent, SubscriptionEvent
from registry.life import Registry

CLIENTS = ("t0", "t1", "line/1")
START = 1_700_001_000_000
WAITS = (0.0, 0.5, 4.5, DELAY, 60.0, FORGET, FORGET + DELAY)

Step = Callable[[FleetProcess], None]


def waiting(seconds: float) -> Step:
    def step(process: FleetProcess) -> None:
        process.time.now += seconds
        process.advance()

    return step


def applying(event: LifecycleEvent) -> Step:
    return lambda process: process.apply(event)


def subscribing(event: SubscriptionEvent) -> Step:
    return lambda process: process.apply_subscription(event)


def forgetting(client_id: str) -> Step:
    return lambda process: process.pipeline.forget([client_id], "expired")


def noting_a_gap(process: FleetProcess) -> None:
    process.presence.note_gap(process.time.wall)


@st.composite
def lifecycle_steps(draw: st.DrawFn) -> Step:
    """Any event: takeovers, repetitions, without version, from another session, far in time."""
    connected = draw(st.booleans())
    event = lifecycle(
        connected=connected,
        timestamp=START + draw(st.sampled_from([0, 1, 1000, 119_000, 500_000, 5_000_000])),
        version=draw(st.none() | st.integers(0, 3)),
        session=draw(st.sampled_from([None, "s0", "s1"])),
        reason=None
        if connected
        else draw(st.sampled_from(["CONNECTION_LOST", "CLIENT_INITIATED_DISCONNECT", None])),
        client_id=draw(st.sampled_from(CLIENTS)),
    )
    event.thing_name = draw(st.sampled_from([None, None, "t1", "t2"]))
    return applying(event)


@st.composite
def orderly_steps(draw: st.DrawFn) -> Step:
    """An event of a connection among others that follow each other, as devices have them."""
    version = draw(st.integers(0, 5))
    connected = draw(st.booleans())
    return applying(
        lifecycle(
            connected=connected,
            timestamp=START + 1000 * version + (0 if connected else 500),
            version=version,
            session=f"s{version}",
            reason=None if connected else "CONNECTION_LOST",
            client_id=draw(st.sampled_from(CLIENTS)),
        )
    )


@st.composite
def subscription_steps(draw: st.DrawFn) -> Step:
    return subscribing(
        SubscriptionEvent(
            type="subscribed",
            client_id=draw(st.sampled_from(CLIENTS)),
            timestamp=draw(st.none() | st.sampled_from([START - 1000, START + 10_000_000])),
            thing_name=draw(st.sampled_from([None, "t2"])),
        )
    )


@st.composite
def registry_steps(draw: st.DrawFn) -> Step:
    """Some of what happens to a registry, so that things of the clients come and go."""
    registry = Registry(
        Random(draw(st.integers(0, 2**32))), things=("t0", "t1", "t2"), groups=("g0", "g1", "g2")
    )
    for _ in range(draw(st.integers(1, 25))):
        registry.step()
    events = registry.events[-draw(st.integers(1, 8)) :]

    def step(process: FleetProcess) -> None:
        for event in events:
            process.apply_registry(event)

    return step


STEPS = st.lists(
    st.one_of(
        lifecycle_steps(),
        orderly_steps(),
        orderly_steps(),
        st.sampled_from(WAITS).map(waiting),
        subscription_steps(),
        registry_steps(),
        st.sampled_from(CLIENTS).map(forgetting),
        st.just(noting_a_gap),
    ),
    min_size=1,
    max_size=30,
)
