"""The source SQS against a real queue: what arrives, what is deleted, what holds deadlines."""

import asyncio
import json
import random
import re
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from presenced.aws.client import RequestCounts
from presenced.presence import State
from presenced.service.shard import Shard
from presenced.settings import Settings, load_settings
from presenced.sources.source import SourceFiles
from presenced.sources.sqs.source import SqsSource
from presenced.system.loop import Clocks
from waiting import until

CLOCKS = Clocks(time.monotonic, time.time)
PRESENCE = "$aws/events/presence"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def queue(sqs):
    return sqs.create_queue(f"presenced-{uuid.uuid4().hex[:8]}")


def settings_of(queue: str, **overrides: Any) -> Settings:
    return load_settings(
        None,
        environ={},
        overrides={
            "source": "sqs",
            "sqs.queue_url": queue,
            "aws.region": "eu-west-1",
            "presence.offline_delay": "1s",
            **overrides,
        },
    )


def body(kind: str, client_id: str, version: int = 1, **more: Any) -> str:
    """A record as a rule makes it."""
    return json.dumps(
        {
            "clientId": client_id,
            "timestamp": round(time.time() * 1000),
            "eventType": kind,
            "sessionIdentifier": f"{client_id}-{version}",
            "versionNumber": version,
            "topic": f"{PRESENCE}/{kind}/{client_id}",
            **more,
        }
    )


class HeldStore:
    """A store whose disk is slow: nothing is kept before `release`."""

    def __init__(self) -> None:
        self.held = True
        self._waiting: list[Callable[[], None]] = []

    def flush(self, done: Callable[[], None] | None = None) -> None:
        if done is not None:
            self._waiting.append(done)
            if not self.held:
                self.release()

    def release(self) -> None:
        self.held = False
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()

    def flush_failed(self) -> bool:
        return False

    async def settled(self) -> None:
        while self._waiting:
            await asyncio.sleep(0.01)


class Stage:
    """A fleet that receives from a queue."""

    def __init__(self, settings: Settings, *, store: Any = None, clocks: Clocks = CLOCKS, **more):
        self.settings = settings
        self.shard = Shard(settings, clocks)
        self.shard.deliver(lambda: self.source.held_at(), store)
        self.requests = RequestCounts()
        deadlines = self.shard.fleet.presence.deadlines
        more = {"visibility": 2, **more}
        self.source = SqsSource(
            self.shard.delivery.inbox,
            self.requests,
            clocks,
            is_deadline_pending=lambda: deadlines.next is not None,
            **more,
        )
        self.shard.pipeline.observers.append(self.source)
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Stage":
        await self.source.use(self.settings, SourceFiles())
        self._checking = asyncio.create_task(self._check())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            self._checking = None
            self.shard.delivery.close()
            await self.source.stop()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.source.check()
            self.shard.delivery.arm()

    @property
    def states(self) -> dict[str, State]:
        clients = self.shard.fleet.presence.clients
        return {name: client.state for name, client in clients.items()}

    @property
    def counts(self) -> dict[str, int]:
        return self.source.counts.messages

    @property
    def transitions(self) -> dict[State, int]:
        return dict(self.shard.fleet.presence.counts.transitions)


EMPTY = {"visible": 0, "in_flight": 0}


async def emptied(sqs, queue, timeout=20.0):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while (left := await asyncio.to_thread(sqs.counts, queue)) != EMPTY:
        assert loop.time() < deadline, left
        await asyncio.sleep(0.02)


def test_events_are_applied_and_then_deleted(sqs, queue):
    async def scenario():
        async with Stage(settings_of(queue)) as stage:
            assert stage.source.started
            assert "waiting for the first answer" in stage.source.problems[0]
            await until(lambda: not stage.source.problems)
            sqs.send(queue, [body("connected", f"c{number}") for number in range(25)])
            await until(lambda: len(stage.states) == 25)
            await emptied(sqs, queue)
            assert set(stage.states.values()) == {State.ONLINE}
            assert stage.counts == {"deleted": 25, "poison": 0, "returned": 0, "not_deleted": 0}
            assert stage.source.counts.redelivered == 0
            assert 0 <= stage.source.oldest_age < 20
            assert stage.requests.requests["ReceiveMessage", "ok"] >= 1
            assert stage.requests.requests["DeleteMessageBatch", "ok"] >= 3
            assert stage.requests.requests["ChangeMessageVisibilityBatch", "denied"] == 0
            assert stage.source.warnings == []
            assert "receiving from the queue presenced-" in stage.source.summary

    asyncio.run(scenario())


def test_an_attribute_may_name_the_topic(sqs, queue):
    async def scenario():
        payload = json.loads(body("connected", "c"))
        topic = payload.pop("topic")
        sqs.client().send_message(
            QueueUrl=queue,
            MessageBody=json.dumps(payload),
            MessageAttributes={"topic": {"DataType": "String", "StringValue": topic}},
        )
        async with Stage(settings_of(queue)) as stage:
            await until(lambda: stage.states == {"c": State.ONLINE})
            await emptied(sqs, queue)

    asyncio.run(scenario())


def test_a_message_without_topic_is_counted_told_and_deleted(sqs, queue):
    async def scenario():
        sqs.send(queue, ["hello", '{"clientId": "a"}', body("connected", "c")])
        async with Stage(settings_of(queue)) as stage:
            await until(lambda: stage.counts["poison"] == 2 and stage.counts["deleted"] == 1)
            await emptied(sqs, queue)
            (warning,) = stage.source.warnings
            assert "SELECT *, topic() AS topic" in warning
            assert stage.states == {"c": State.ONLINE}

    asyncio.run(scenario())


def test_received_is_when_a_message_entered_the_queue(sqs, queue):
    async def scenario():
        before = time.time()
        sqs.send(queue, [body("connected", "c")])
        sent = time.time()
        await asyncio.sleep(1.5)
        async with Stage(settings_of(queue)) as stage:
            await until(lambda: "c" in stage.states)
            since = stage.shard.fleet.presence.clients["c"].since
            # ElasticMQ dates messages in whole milliseconds.
            assert before - 0.001 <= since <= sent
            assert stage.source.oldest_age >= 1.5

    asyncio.run(scenario())


def test_a_client_goes_offline_when_a_poll_proves_that_nothing_is_left(sqs, queue):
    async def scenario():
        async with Stage(settings_of(queue)) as stage:
            sqs.send(queue, [body("connected", "c")])
            await until(lambda: stage.states == {"c": State.ONLINE})
            sqs.send(queue, [body("disconnected", "c")])
            await until(lambda: stage.states == {"c": State.PENDING})
            await until(lambda: stage.states == {"c": State.OFFLINE})

    asyncio.run(scenario())


def test_a_backlog_makes_nobody_offline(sqs, queue):
    """All clients are back in time, in a queue that stands still for longer than the delay."""

    async def scenario():
        names = [f"c{number}" for number in range(200)]
        began = time.monotonic()
        sqs.send(queue, [body("connected", name) for name in names])
        sqs.send(queue, [body("disconnected", name) for name in names])
        sqs.send(queue, [body("connected", name, 2) for name in names])
        sqs.send(queue, [body("connected", "z"), body("disconnected", "z")])
        delay = time.monotonic() - began
        await asyncio.sleep(2 * delay)
        settings = settings_of(queue, **{"presence.offline_delay": f"{round(delay * 1000)}ms"})
        async with Stage(settings) as stage:
            await until(lambda: stage.states.get("z") is State.OFFLINE)
            await until(lambda: not stage.source.problems)
            assert set(stage.states) == {"z", *names}
            assert stage.transitions[State.OFFLINE] == 1
            await emptied(sqs, queue)

    asyncio.run(scenario())


def test_messages_stay_hidden_while_the_disk_is_slow(sqs, queue):
    """Longer than the visibility timeout; then they are deleted."""

    async def scenario():
        sqs.send(queue, [body("connected", f"c{number}") for number in range(15)])
        sent = time.monotonic()
        store = HeldStore()
        async with Stage(settings_of(queue), store=store) as stage:
            await until(lambda: len(stage.states) == 15)
            client = sqs.client()
            found = await asyncio.to_thread(
                client.receive_message, QueueUrl=queue, WaitTimeSeconds=5, VisibilityTimeout=0
            )
            assert not found.get("Messages")
            assert sqs.counts(queue) == {"visible": 0, "in_flight": 15}
            assert stage.source.held_at() <= sent
            assert stage.counts["deleted"] == 0
            store.release()
            await until(lambda: stage.counts["deleted"] == 15)
            assert sqs.counts(queue) == EMPTY
            assert stage.source.counts.redelivered == 0

    asyncio.run(scenario())


def test_no_more_is_received_than_fits(sqs, queue):
    async def scenario():
        sqs.send(queue, [body("connected", f"c{number}") for number in range(200)])
        store = HeldStore()
        async with Stage(settings_of(queue), store=store, capacity=40) as stage:
            await until(lambda: len(stage.states) >= 40)
            await asyncio.sleep(1)
            # Polls that were under way when it was full may bring some more.
            assert len(stage.states) <= 80
            store.release()
            await until(lambda: len(stage.states) == 200)
            await emptied(sqs, queue)

    asyncio.run(scenario())


def test_what_is_not_applied_is_back_in_the_queue_after_the_stop(sqs, queue):
    async def scenario():
        sqs.send(queue, [body("connected", f"c{number}") for number in range(30)])
        settings = settings_of(queue)
        async with Stage(settings, store=HeldStore(), visibility=60) as stage:
            await until(lambda: len(stage.states) == 30)
            began = time.monotonic()
            await stage.stop()
            assert time.monotonic() - began < 3
            assert stage.counts["returned"] == 30
        assert sqs.counts(queue) == {"visible": 30, "in_flight": 0}
        async with Stage(settings, visibility=60) as stage:
            await until(lambda: len(stage.states) == 30)
            await emptied(sqs, queue)
            assert stage.source.counts.redelivered == 30

    asyncio.run(scenario())


def test_what_is_applied_is_deleted_at_the_stop(sqs, queue):
    async def scenario():
        sqs.send(queue, [body("connected", f"c{number}") for number in range(12)])
        async with Stage(settings_of(queue)) as stage:
            await until(lambda: len(stage.states) == 12)
            await stage.stop()
            assert stage.counts["deleted"] == 12
        assert sqs.counts(queue) == EMPTY

    asyncio.run(scenario())


def test_a_dead_endpoint_is_a_state_that_ends(sqs_of):
    async def scenario():
        sqs = sqs_of(durable=True)
        queue = sqs.create_queue("presenced")
        async with Stage(settings_of(queue)) as stage:
            sqs.send(queue, [body("connected", "a")])
            await until(lambda: stage.states == {"a": State.ONLINE} and not stage.source.problems)
            await emptied(sqs, queue)
            await asyncio.to_thread(sqs.kill)
            await until(lambda: stage.source.problems)
            (problem,) = stage.source.problems
            assert "the queue presenced: ReceiveMessage:" in problem
            assert "sqs.queue_url" in problem
            held_at = stage.source.held_at()
            await asyncio.to_thread(sqs.start)
            sqs.send(queue, [body("disconnected", "a"), body("connected", "b")])
            await until(lambda: not stage.source.problems)
            await until(lambda: stage.states == {"a": State.OFFLINE, "b": State.ONLINE})
            assert stage.source.held_at() > held_at
            await emptied(sqs, queue)

    asyncio.run(scenario())


def test_a_queue_that_does_not_exist_is_named_with_its_remedy(sqs):
    async def scenario():
        missing = f"{sqs.url}/000000000000/missing"
        async with Stage(settings_of(missing)) as stage:
            await until(lambda: "no queue missing" in "".join(stage.source.problems))
            (problem,) = stage.source.problems
            assert "aws sqs get-queue-url --region eu-west-1 --queue-name missing" in problem
            sqs.create_queue("missing")
            await until(lambda: not stage.source.problems)
            assert stage.requests.requests["ReceiveMessage", "failed"] >= 1

    asyncio.run(scenario())


def test_a_reload_changes_the_queue_and_keeps_the_counts(sqs, queue):
    async def scenario():
        other = sqs.create_queue(f"other-{uuid.uuid4().hex[:8]}")
        async with Stage(settings_of(queue)) as stage:
            sqs.send(queue, [body("connected", "a")])
            await until(lambda: stage.counts["deleted"] == 1)
            same = settings_of(queue, **{"sqs.receivers": 2})
            assert await stage.source.use(same, SourceFiles()) == 0
            assert await stage.source.use(settings_of(other), SourceFiles()) == 1
            sqs.send(other, [body("connected", "b")])
            await until(lambda: stage.counts["deleted"] == 2)
            assert set(stage.states) == {"a", "b"}

    asyncio.run(scenario())


def test_a_clock_that_is_ahead_is_told_and_makes_nobody_offline_early(sqs, queue):
    """By this clock each message is as old as the delay when it arrives."""

    async def scenario():
        ahead = Clocks(time.monotonic, lambda: time.time() + 10)
        settings = settings_of(queue, **{"presence.offline_delay": "8s"})
        async with Stage(settings, clocks=ahead) as stage:
            sqs.send(queue, [body("connected", "c")])
            # The Date header has whole seconds. A slow answer counts until a faster one comes.
            told = re.compile("of this machine is 1[01]s ahead of AWS's")
            await until(lambda: [each for each in stage.source.warnings if told.search(each)])
            assert len(stage.source.warnings) == 1
            sqs.send(queue, [body("disconnected", "c")])
            await until(lambda: stage.states == {"c": State.PENDING})
            await asyncio.sleep(4)
            assert stage.states == {"c": State.PENDING}
            sqs.send(queue, [body("connected", "c", 2)])
            await until(lambda: stage.states == {"c": State.ONLINE})
            assert stage.transitions[State.OFFLINE] == 0

    asyncio.run(scenario())


def flaps(round_: int) -> list[str]:
    """Each client connects and disconnects, in any order."""
    events = [
        body(kind, f"c{number}", round_)
        for number in range(20)
        for kind in ("connected", "disconnected")
    ]
    return random.Random(round_).sample(events, len(events))


@pytest.mark.parametrize("daemons", [1, 2, 3])
def test_daemons_that_share_a_queue_notice(sqs, queue, daemons):
    async def scenario():
        async with AsyncExitStack() as stack:
            made = (Stage(settings_of(queue), window=1.0) for _ in range(daemons))
            stages = [await stack.enter_async_context(stage) for stage in made]
            await until(lambda: not any(stage.source.problems for stage in stages))
            for round_ in range(1, 200):
                await asyncio.to_thread(sqs.send, queue, flaps(round_))
                if daemons > 1 and all(stage.source.warnings for stage in stages):
                    break
                if daemons == 1 and round_ == 40:
                    break
            await emptied(sqs, queue)
            for stage in stages:
                if daemons == 1:
                    assert stage.source.warnings == []
                else:
                    (warning,) = stage.source.warnings
                    assert "another consumer seems to read queue" in warning

    asyncio.run(scenario())
