"""What the service manager is told, and when."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from presenced.presence import State
from presenced.sources.faults import Fault, FaultReason
from presenced.sources.status import ConnectionStatus
from presenced.system.supervision import Notifier, Supervision, status_line
from waiting import until


class Told(Notifier):
    """A notifier that keeps what it is given to send."""

    def __init__(self, *, reachable: bool = True) -> None:
        super().__init__(None)
        self.reachable = reachable
        self.told: list[tuple[float, dict[str, str | int]]] = []

    @property
    def wanted(self) -> bool:
        return True

    def send(self, **assignments: str | int) -> bool:
        if self.reachable:
            self.told.append((time.monotonic(), assignments))
        return self.reachable

    def times(self, key: str) -> list[float]:
        return [at for at, assignments in self.told if key in assignments]

    def values(self, key: str) -> list[str | int]:
        return [assignments[key] for _, assignments in self.told if key in assignments]


Scene = Callable[[Told, dict[str, Any]], Coroutine[Any, Any, None]]


def play(scene: Scene, *, told: Told | None = None, **settings: Any) -> Told:
    """Let a supervision run while the scene changes what is `ready` and the `status`."""
    told = told or Told()
    now: dict[str, Any] = {"ready": False, "status": "starting"}

    async def run() -> None:
        supervision = now["supervision"] = Supervision(
            lambda: now["ready"], lambda: now["status"], notifier=told, **settings
        )
        supervision.start()
        await scene(told, now)
        supervision.stop()

    asyncio.run(run())
    return told


def test_ready_once_it_is() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        await until(lambda: told.values("STATUS") == ["starting"])
        await asyncio.sleep(0.3)  # a while in which nothing must come
        assert not told.times("READY")
        now["ready"] = True
        await until(lambda: told.times("READY"))

    told = play(scene)
    assert told.values("READY") == [1]
    assert told.told[-1][1] == {"STOPPING": 1, "STATUS": "stopping"}


def test_ready_at_latest_after_a_while_even_if_not() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        begun = time.monotonic()
        await until(lambda: told.times("READY"))
        assert told.times("READY")[0] - begun >= 0.25

    play(scene, ready_within=0.3)


def test_ready_is_sent_again_until_it_arrives() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        now["ready"] = True
        await asyncio.sleep(0.25)  # some attempts that fail
        told.reachable = True
        await until(lambda: told.times("READY") and told.times("STATUS"))

    play(scene, told=Told(reachable=False))


def test_status_on_change_and_no_more_than_once_a_second() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        for number in range(100):
            now["status"] = f"{number} clients"
            await asyncio.sleep(0.013)
        await until(lambda: told.values("STATUS")[-1] == "99 clients")

    times = play(scene).times("STATUS")
    assert len(times) <= 5
    assert times[1] - times[0] >= 0.95


@pytest.mark.parametrize("watchdog", [None, 0.3])
def test_the_watchdog_is_fed_only_where_there_is_one(watchdog: float | None) -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        now["ready"] = True
        await until(lambda: told.times("READY"))
        if watchdog:
            await until(lambda: len(told.times("WATCHDOG")) > 5)

    fed = play(scene, watchdog=watchdog).times("WATCHDOG")
    assert bool(fed) == bool(watchdog)


def test_a_loop_that_hangs_does_not_feed_the_watchdog() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        await until(lambda: told.times("WATCHDOG"))
        begun = time.monotonic()
        time.sleep(0.5)  # what a fault would do to the loop
        assert not [at for at in told.times("WATCHDOG") if at > begun]

    play(scene, watchdog=0.1)


def test_a_fault_in_the_status_does_not_end_the_reports() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        status = now.pop("status")  # the next look fails
        await asyncio.sleep(0.3)
        now.update(status=status, ready=True)
        await until(lambda: told.times("READY"))

    play(scene)


def test_reloading_is_told_with_its_time() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        now["ready"] = True
        await until(lambda: told.times("READY"))
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        with now["supervision"].reloading():
            (_, reloading), now["status"] = told.told[-1], "reloaded"
            assert reloading["RELOADING"] == 1
            assert 0 <= int(reloading["MONOTONIC_USEC"]) - before < 1_000_000
        assert told.told[-1][1] == {"READY": 1, "STATUS": "reloaded"}

    play(scene)


def test_a_reload_does_not_make_ready_what_is_not() -> None:
    async def scene(told: Told, now: dict[str, Any]) -> None:
        with now["supervision"].reloading():
            pass
        assert not told.times("RELOADING")
        assert not told.times("READY")

    play(scene)


def clients(**counts: int) -> dict[State, int]:
    return dict.fromkeys(State, 0) | {State(name): count for name, count in counts.items()}


def connection(client_id: str, *, up: bool) -> ConnectionStatus:
    status = ConnectionStatus(client_id, ["#"], endpoint="broker.example")
    if up:
        status.up(resumed=False)
        status.filter_granted("#", 1)
    else:
        status.failed(Fault(FaultReason.UNREACHABLE, "nobody listens", "Start it"))
    return status


@pytest.mark.parametrize(
    ("ups", "expected"),
    [
        ([], "starting"),
        ([True], "connected to broker.example"),
        ([True, True], "connected by 2 connections to broker.example"),
        ([False], "not connected: c-0: nobody listens. Start it"),
        ([True, False], "1 of 2 connections up: c-1: nobody listens. Start it"),
    ],
)
def test_status_line_tells_the_connections(ups: list[bool], expected: str) -> None:
    connections = [connection(f"c-{number}", up=up) for number, up in enumerate(ups)]
    assert status_line(clients(), connections) == f"clients: 0 online, 0 offline; {expected}"


def test_status_line_counts_clients() -> None:
    counts = clients(online=47, pending=2, offline=1, unknown=3)
    line = "clients: 47 online, 2 pending, 1 offline, 3 unknown; starting"
    assert status_line(counts, []) == line
