"""How messages, deadlines, commits and acknowledgements meet on the loop."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.pipeline import Pipeline
from presenced.presence import Client, PresenceRules, State
from presenced.service.delivery import Delivery
from presenced.sources.gaps import Gaps
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.gap_detector import GapDetector, MqttSession
from presenced.store.changes import Changes
from presenced.store.file import StateFile
from presenced.store.state_store import StateStore
from presenced.system.loop import Clocks
from statefiles import query
from waiting import until

CLOCKS = Clocks(time.monotonic, time.time)
OPTIONS = ConnectionOptions(
    endpoint="localhost",
    port=1883,
    client_id="presenced",
    filters=("$aws/events/#",),
    tls=None,
    session_expiry=3600.0,
)


class Bench:
    """A delivery of its own on the running loop, and what it acknowledged."""

    def __init__(
        self,
        rules: PresenceRules | None = None,
        pipeline: type[Pipeline] = Pipeline,
        store: Callable[[Pipeline, GapDetector], StateStore] | None = None,
        **options: Any,
    ) -> None:
        self.fleet = Fleet(rules or PresenceRules())
        self.pipeline = pipeline(self.fleet)
        self.gap_detector = GapDetector(Gaps(self.fleet.presence, CLOCKS), CLOCKS)
        self.store = store and store(self.pipeline, self.gap_detector)
        self.delivery = Delivery(
            self.pipeline, lambda: self.gap_detector.held_at, self.store, CLOCKS, **options
        )
        self.acknowledged: list[str | int] = []
        if self.store is not None:
            self.pipeline.observers += [self.store]
            self.store.open()
            self.store.start()

    def put(
        self,
        kind: str,
        version: int = 1,
        age: float = 0.0,
        client_id: str = "a",
        name: str | int | None = None,
    ) -> bool:
        """Receive a lifecycle event, as of so many seconds ago."""
        return self.delivery.inbox.put(
            Message(
                topic=f"$aws/events/presence/{kind}/{client_id}",
                payload=json.dumps(
                    {"versionNumber": version, "sessionIdentifier": f"s{version}"}
                ).encode(),
                qos=1,
                received=time.time() - age,
                moment=time.monotonic() - age,
                connection="presenced",
                acknowledge=partial(self.acknowledged.append, version if name is None else name),
            )
        )

    def receive(self, *args: Any, **fields: Any) -> None:
        """Receive a lifecycle event, and apply it now."""
        assert self.put(*args, **fields)
        self.delivery.inbox.drain()

    @property
    def states(self) -> dict[str, int]:
        return {str(state): n for state, n in self.fleet.presence.counts.clients.items() if n}

    async def close(self) -> None:
        self.delivery.close()
        if self.store is not None:
            await self.store.close()


def on_a_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_a_connect_that_waits_in_the_backlog_came_in_time() -> None:
    """Its disconnect's deadline is over by the clock, but it was received before that."""

    async def scenario() -> None:
        bench = Bench()
        bench.receive("connected", 1, age=100)
        bench.receive("disconnected", 1, age=10)
        bench.put("connected", 2, age=6)
        bench.delivery.fire()
        assert bench.states == {"pending": 1}
        bench.delivery.inbox.drain()
        assert bench.states == {"online": 1}
        assert bench.fleet.presence.counts.flaps_suppressed == 1
        assert bench.acknowledged == [1, 1, 2]
        await bench.close()

    on_a_loop(scenario)


def test_a_deadline_fires_when_nothing_waits() -> None:
    async def scenario() -> None:
        bench = Bench(PresenceRules(offline_delay=0.05))
        bench.receive("connected")
        bench.receive("disconnected")
        assert bench.states == {"pending": 1}
        await until(lambda: bench.states == {"offline": 1})
        await bench.close()

    on_a_loop(scenario)


def test_the_timer_follows_the_earliest_deadline() -> None:
    async def scenario() -> None:
        delays = {"CONNECTION_LOST": 3600.0}
        bench = Bench(PresenceRules(offline_delay=0.05, offline_delay_by_reason=delays))
        for client_id in "ab":
            bench.receive("connected", client_id=client_id)
        bench.fleet.presence.clients["a"].reason = "CONNECTION_LOST"
        bench.fleet.presence.deadlines.schedule(
            time.monotonic() + 3600, bench.fleet.presence.clients["a"]
        )
        bench.delivery.arm()
        bench.receive("disconnected", client_id="b")
        await until(lambda: bench.states == {"online": 1, "offline": 1})
        await bench.close()

    on_a_loop(scenario)


def test_messages_are_acknowledged_even_if_applying_them_fails() -> None:
    """A message that a fault of presenced concerns would be redelivered forever."""

    class Failing(Pipeline):
        def process(self, messages: Sequence[Message], **_: Any) -> int:
            raise ZeroDivisionError

    async def scenario() -> None:
        bench = Bench(pipeline=Failing)
        bench.receive("connected")
        assert bench.acknowledged == [1]
        await bench.close()

    on_a_loop(scenario)


def test_deadlines_that_are_released_together_share_the_loop_before_the_message() -> None:
    """All that were held fired in one turn before one message, which held up the loop."""

    async def scenario() -> None:
        bench = Bench(deadlines_per_turn=10)
        bench.gap_detector.restore([MqttSession("presenced", time.time() - 200)])
        bench.gap_detector.expect([OPTIONS])
        for kind, age in (("connected", 100), ("disconnected", 50)):
            for number in range(35):
                bench.put(kind, age=age, client_id=f"a{number}")
        bench.delivery.inbox.drain()
        assert bench.states == {"pending": 35}
        bench.gap_detector.up("presenced", resumed=False)
        assert bench.delivery.hold_after() == math.inf
        bench.acknowledged.clear()
        bench.put("connected", 7, client_id="late")
        seen = set()
        while not bench.acknowledged:
            await asyncio.sleep(0)
            seen.add(bench.states.get("offline", 0))
        between = sorted(number for number in seen if 0 < number < 35)
        assert len(between) >= 2, "the loop had its turns in between"
        assert between[0] <= 20, "at most ten by the timer and ten before the message"
        assert bench.states == {"online": 1, "offline": 35}
        assert bench.delivery.inbox.backlog == 0
        await bench.close()

    on_a_loop(scenario)


def test_no_deadline_fires_while_messages_are_refused() -> None:
    """The connect that comes while the connection is being ended would have been in time."""

    async def scenario() -> None:
        bench = Bench(PresenceRules(offline_delay=0.02))
        bench.receive("connected", age=100)
        bench.receive("disconnected")
        bench.delivery.close()
        assert not bench.put("connected", 2)
        bench.delivery.arm()  # as an acknowledgement that still comes does
        deadline = bench.fleet.presence.clients["a"].deadline
        assert deadline is not None
        await until(lambda: time.monotonic() > deadline + 0.05)
        assert bench.states == {"pending": 1}

    on_a_loop(scenario)


def test_a_restored_deadline_is_held_while_the_broker_may_know_better() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.gap_detector.restore([MqttSession("presenced", time.time() - 10)])
        bench.gap_detector.expect([OPTIONS])
        client = Client("a", State.PENDING, since=time.time() - 8)
        bench.fleet.restore(client, time.monotonic() - 3, [])
        bench.delivery.fire()
        assert bench.states == {"pending": 1}
        bench.gap_detector.up("presenced", resumed=True)
        assert bench.gap_detector.catching_up == ["presenced"]
        bench.delivery.fire()
        assert bench.states == {"pending": 1}
        bench.gap_detector.down("presenced")
        bench.gap_detector.up("presenced", resumed=False)
        bench.delivery.fire()
        assert bench.states == {"offline": 1}
        await bench.close()

    on_a_loop(scenario)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


def store_at(path: Path, on_error: Literal["continue", "stall"] = "stall") -> Any:
    return lambda pipeline, gaps: StateStore(path, pipeline, gaps, (), on_error, CLOCKS)


def test_no_deadline_fires_after_a_message_that_waits_for_its_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may hold back the connect that would cancel it until this one is acknowledged."""
    commit, disk = StateFile.commit, threading.Event()

    def commit_slowly(file: StateFile, changes: Changes) -> int:
        disk.wait(20)
        return commit(file, changes)

    monkeypatch.setattr(StateFile, "commit", commit_slowly)

    async def scenario() -> None:
        rules = PresenceRules(offline_delay=0.05)
        bench = Bench(rules, store=store_at(path))
        bench.put("connected", name="connected")
        bench.put("disconnected", name="disconnected")
        bench.delivery.inbox.drain()
        deadline = bench.fleet.presence.clients["a"].deadline
        assert deadline is not None
        await until(lambda: time.monotonic() > deadline)
        bench.delivery.fire()
        assert (bench.states, bench.acknowledged) == ({"pending": 1}, [])
        disk.set()
        await until(lambda: bench.states == {"offline": 1})
        assert bench.acknowledged == ["connected", "disconnected"]
        await bench.close()

    on_a_loop(scenario)


class OneAtATime(Pipeline):
    """A pipeline that applies one message of each batch."""

    def process(self, messages: Sequence[Message], **options: Any) -> int:
        return super().process(messages[:1], **options)


class FailingOnce(StateStore):
    """A store whose first flush that is waited for fails."""

    failed = False

    def flush(self, done: Callable[[], None] | None = None) -> None:
        if done is not None and not self.failed:
            self.failed = True
            raise ZeroDivisionError
        super().flush(done)


@pytest.mark.parametrize(
    ("on_error", "acknowledged"), [("continue", ["a", "b", "c"]), ("stall", ["b", "c"])]
)
def test_a_flush_that_fails_lets_nothing_be_acknowledged_that_was_not_applied(
    path: Path, on_error: Literal["continue", "stall"], acknowledged: list[str]
) -> None:
    async def scenario() -> None:
        bench = Bench(
            pipeline=OneAtATime,
            store=lambda pipeline, gaps: FailingOnce(path, pipeline, gaps, (), on_error, CLOCKS),
        )
        for name in "abc":
            bench.put("connected", client_id=name, name=name)
        bench.delivery.inbox.drain()
        assert set(bench.fleet.presence.clients) == {"a", "b", "c"}
        await until(lambda: bench.acknowledged == acknowledged)
        assert bench.delivery.hold_after() == math.inf
        assert bench.delivery.inbox.undelivered == 0
        assert bench.store is not None
        assert bench.store.counts.failures["other"] == 1
        assert query(path, "SELECT count(*) FROM clients") == [(3,)]
        await bench.close()

    on_a_loop(scenario)
