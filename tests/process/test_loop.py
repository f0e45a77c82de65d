"""Tasks that run side by side, and the signals that end a program."""

import asyncio
import os
import signal

import pytest

from presenced.system.loop import race, stop_signals


def test_race_ends_with_the_first_and_cancels_the_others() -> None:
    steps: list[str] = []

    async def loser() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    async def winner() -> None:
        await asyncio.sleep(0)
        steps.append("won")

    asyncio.run(race(loser(), winner()))
    assert steps == ["won", "cleaned up"]


def test_race_raises_what_was_raised() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(race(asyncio.sleep(60), fail()))


def test_race_raises_what_cleaning_up_raised() -> None:
    async def careless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(race(careless(), asyncio.sleep(0.01)))


def test_cancelled_race_cleans_up() -> None:
    steps: list[str] = []

    async def runner() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned up")

    async def scenario() -> None:
        task = asyncio.create_task(race(runner(), asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert steps == ["cleaned up"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_set_the_event(number: signal.Signals) -> None:
    async def scenario() -> None:
        with stop_signals() as stop:
            os.kill(os.getpid(), number)
            async with asyncio.timeout(10):
                await stop.wait()
            os.kill(os.getpid(), number)  # a second one does no harm
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
