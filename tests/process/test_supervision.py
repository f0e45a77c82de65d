"""What is reported to the service manager, and when."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from presenced.system import supervision as supervision_module
from presenced.system.supervision import Notifier, Supervision
from waiting import until


class FakeNotifier(Notifier):
    """A notifier that keeps what it is to send."""

    def __init__(self, *, reachable: bool = True) -> None:
        super().__init__(None)
        self.reachable = reachable
        self.sent: list[tuple[float, dict[str, str | int]]] = []

    @property
    def wanted(self) -> bool:
        return True

    def send(self, **assignments: str | int) -> bool:
        if self.reachable:
            self.sent.append((time.monotonic(), assignments))
        return self.reachable

    def times(self, key: str) -> list[float]:
        return [at for at, assignments in self.sent if key in assignments]

    def values(self, key: str) -> list[str | int]:
        return [assignments[key] for _, assignments in self.sent if key in assignments]


Scene = Callable[[FakeNotifier, dict[str, Any]], Coroutine[Any, Any, None]]


def play(
    scene: Scene,
    *,
    reachable: bool = True,
    watchdog: float | None = None,
    ready_within: float = 60.0,
) -> FakeNotifier:
    """Run a supervision while the scene changes what is `ready` and the `status`."""
    notifier = FakeNotifier(reachable=reachable)
    now: dict[str, Any] = {"ready": False, "status": "starting"}

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervision_module, "Notifier", lambda _: notifier)
            patch.setattr(supervision_module, "watchdog_interval", lambda: watchdog)
            patch.setattr(supervision_module, "_READY_WITHIN", ready_within)
            supervision = now["supervision"] = Supervision(
                lambda: now["ready"], lambda: now["status"]
            )
        supervision.start()
        await scene(notifier, now)
        supervision.stop()

    asyncio.run(run())
    return notifier


def test_ready_is_sent_once_the_daemon_is_ready() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        await until(lambda: notifier.values("STATUS") == ["starting"])
        await asyncio.sleep(0.3)  # a while in which nothing must come
        assert not notifier.times("READY")
        now["ready"] = True
        await until(lambda: notifier.times("READY"))

    notifier = play(scene)
    assert notifier.values("READY") == [1]
    assert notifier.sent[-1][1] == {"STOPPING": 1, "STATUS": "stopping"}


def test_ready_comes_with_the_status_of_its_moment() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        await until(lambda: notifier.values("STATUS") == ["starting"])
        now.update(status="connected", ready=True)
        await until(lambda: notifier.times("READY"))

    assert {"READY": 1, "STATUS": "connected"} in [sent for _, sent in play(scene).sent]


def test_ready_is_sent_at_latest_after_ready_within() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        begun = time.monotonic()
        await until(lambda: notifier.times("READY"))
        assert notifier.times("READY")[0] - begun >= 0.25

    play(scene, ready_within=0.3)


def test_ready_is_sent_again_until_it_arrives() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        now["ready"] = True
        await asyncio.sleep(0.25)  # some attempts that fail
        notifier.reachable = True
        await until(lambda: notifier.times("READY") and notifier.times("STATUS"))

    play(scene, reachable=False)


def test_status_is_sent_on_change_and_at_most_once_a_second() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        for number in range(100):
            now["status"] = f"{number} clients"
            await asyncio.sleep(0.013)
        await until(lambda: notifier.values("STATUS")[-1] == "99 clients")

    times = play(scene).times("STATUS")
    assert len(times) <= 5
    assert times[1] - times[0] >= 0.95


@pytest.mark.parametrize("watchdog", [None, 0.3])
def test_the_watchdog_is_fed_only_if_it_is_enabled(watchdog: float | None) -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        now["ready"] = True
        await until(lambda: notifier.times("READY"))
        if watchdog:
            await until(lambda: len(notifier.times("WATCHDOG")) > 5)

    fed = play(scene, watchdog=watchdog).times("WATCHDOG")
    assert bool(fed) == bool(watchdog)


def test_a_loop_that_hangs_does_not_feed_the_watchdog() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        await until(lambda: notifier.times("WATCHDOG"))
        begun = time.monotonic()
        time.sleep(0.5)  # what a fault would do to the loop
        assert not [at for at in notifier.times("WATCHDOG") if at > begun]

    play(scene, watchdog=0.1)


def test_an_error_in_status_does_not_end_the_reports() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        status = now.pop("status")  # the next look fails
        await asyncio.sleep(0.3)
        now.update(status=status, ready=True)
        await until(lambda: notifier.times("READY"))

    play(scene)


def test_reloading_is_reported_with_its_time() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        now["ready"] = True
        await until(lambda: notifier.times("READY"))
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        with now["supervision"].reloading():
            (_, reloading), now["status"] = notifier.sent[-1], "reloaded"
            assert reloading["RELOADING"] == 1
            assert 0 <= int(reloading["MONOTONIC_USEC"]) - before < 1_000_000
        assert notifier.sent[-1][1] == {"READY": 1, "STATUS": "reloaded"}

    play(scene)


def test_a_reload_before_readiness_sends_nothing() -> None:
    async def scene(notifier: FakeNotifier, now: dict[str, Any]) -> None:
        with now["supervision"].reloading():
            pass
        assert not notifier.times("RELOADING")
        assert not notifier.times("READY")

    play(scene)
