import asyncio
from itertools import pairwise

import pytest

from presenced.system.loop import CooperativeScheduler


async def ticking(ticks: list[str]) -> None:
    """Writes down each time that the loop goes round."""
    while True:
        ticks.append("loop")
        await asyncio.sleep(0)


def test_the_loop_goes_round_between_any_two_slices():
    async def run() -> list[str]:
        log: list[str] = []
        scheduler = CooperativeScheduler(0.0)

        async def work(name: str) -> None:
            async with scheduler.turn() as turn:
                for _ in range(20):
                    log.append(name)
                    await turn.yield_if_due()

        ticker = asyncio.create_task(ticking(log))
        await asyncio.gather(*(work(name) for name in "abc"))
        ticker.cancel()
        return log

    log = asyncio.run(run())
    assert {name: log.count(name) for name in "abc"} == dict.fromkeys("abc", 20)
    worked = [place for place, name in enumerate(log) if name != "loop"]
    assert all(after - before > 1 for before, after in pairwise(worked))


def test_work_that_fits_into_a_slice_is_not_interrupted():
    async def run() -> list[str]:
        log: list[str] = []
        scheduler = CooperativeScheduler(60.0)
        ticker = asyncio.create_task(ticking(log))
        async with scheduler.turn() as turn:
            for _ in range(20):
                log.append("work")
                await turn.yield_if_due()
        ticker.cancel()
        return log

    assert "".join(asyncio.run(run())).count("workwork") == 10


@pytest.mark.parametrize("rounds", range(8))
def test_a_cancelled_task_keeps_no_other_waiting(rounds):
    async def run() -> int:
        scheduler = CooperativeScheduler(0.0)
        done = 0

        async def work() -> None:
            nonlocal done
            async with scheduler.turn() as turn:
                for _ in range(5):
                    await turn.yield_if_due()
            done += 1

        tasks = [asyncio.create_task(work()) for _ in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        return done

    assert asyncio.run(run()) == 2


async def interrupted(scheduler: CooperativeScheduler) -> list[str]:
    """Work in the foreground that comes while there is work in the background, and yields."""
    log: list[str] = []

    async def work(name: str, *, background: bool) -> None:
        async with scheduler.turn(background=background) as turn:
            for _ in range(20):
                log.append(name)
                await turn.yield_if_due()

    behind = asyncio.create_task(work("background", background=True))
    while len(log) < 5:
        await asyncio.sleep(0)
    await work("foreground", background=False)
    await asyncio.wait_for(behind, 10)
    return log


def test_work_in_the_background_waits_for_other_work():
    log = asyncio.run(interrupted(CooperativeScheduler(0.0, patience=60.0)))
    began = log.index("foreground")
    # One slice of the background had begun.
    assert log[began : began + 20].count("background") <= 1
    assert log.count("background") == 20


def test_work_in_the_background_goes_on_however_much_other_work_there_is():
    log = asyncio.run(interrupted(CooperativeScheduler(0.0, patience=0.0)))
    began = log.index("foreground")
    assert log[began : began + 25].count("background") > 5
