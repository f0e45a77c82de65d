"""When `presenced record` reads AWS's record, against the emulated operations."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from emulator_aws import Fleet
from presenced.aws.client import RequestCounts, open_client
from presenced.commands.recorder.snapshots import SnapshotRecorder
from presenced.settings import load_settings
from presenced.sources.recording import RecordedAnswer
from presenced.system.loop import Clocks
from presenced_emulator.aws.index import IndexStatus
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue

DEADLINE = 20.0
RETRY_AFTER = 61.0
T = 30.0


class Stage:
    """An account with 250 things, and what is recorded of it; `ahead` moves the clock."""

    def __init__(self, server: AwsServer, account: Fleet, config: Path) -> None:
        self.server = server
        self.account = account
        self.ahead = 0.0
        self.connects: int | None = 1
        self.answers: list[RecordedAnswer] = []
        self.on_answer: Callable[[], object] = lambda: None
        clocks = Clocks(lambda: time.monotonic() + self.ahead, time.time)
        settings = load_settings(config)
        client = open_client(settings, RequestCounts(), clocks)
        self.recorder = SnapshotRecorder(
            client, settings, lambda: self.connects, self._write, clocks
        )

    def _write(self, answer: RecordedAnswer) -> None:
        self.answers.append(answer)
        self.on_answer()

    @property
    def names(self) -> list[str]:
        pages = [json.loads(answer.body)["things"] for answer in self.answers]
        return [thing["thingName"] for things in pages for thing in things]

    def asked(self, operation: str) -> int:
        return sum(request.operation == operation for request in self.server.requests)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(scenario: Callable[[Stage], Awaitable[None]]) -> None:
        async def main() -> None:
            account = Fleet()
            for number in range(250):
                account.create(f"pump-{number}")
            async with AwsServer(account.account, issue(tmp_path).aws, seed=1) as server:
                for name, value in server.issue("presenced-role").environment.items():
                    monkeypatch.setenv(name, value)
                config = tmp_path / "presenced.yaml"
                settings = {
                    "mqtt": {"endpoint": "localhost", "transport": "aiomqtt", "tls": False},
                    "aws": {
                        "region": "eu-west-1",
                        "iot_url": server.http_url,
                        "data_url": server.http_url,
                    },
                    "presence": {"timestamp_accuracy": f"{T:.0f}s"},
                    "reconcile": {"enabled": True, "searches_per_second": 1000},
                }
                config.write_text(json.dumps(settings))
                stage = Stage(server, account, config)
                task = asyncio.create_task(stage.recorder.run())
                try:
                    await scenario(stage)
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())

    return run


def test_snapshots_at_start_again_after_t_and_after_a_reconnect(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.connects = None
        await asyncio.sleep(0.7)
        assert stage.answers == [], "no connection is ready"
        stage.connects = 1
        await stage.until(lambda: len(stage.answers) == 3)
        assert len(set(stage.names)) == 250
        await asyncio.sleep(0.7)
        assert len(stage.answers) == 3
        stage.ahead += T
        await stage.until(lambda: len(stage.answers) == 6)
        stage.ahead += 3600
        await asyncio.sleep(0.7)
        assert len(stage.answers) == 6
        stage.connects = 2
        await stage.until(lambda: len(stage.answers) == 9)
        stage.ahead += T
        await stage.until(lambda: len(stage.answers) == 12)
        stage.ahead += 6 * 3600
        await stage.until(lambda: len(stage.answers) == 15)

    play(scenario)


def test_a_snapshot_that_failed_goes_on_where_it_was(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        denied = stage.server.faults.denied
        stage.on_answer = lambda: denied.add("SearchIndex")
        await stage.until(lambda: stage.asked("SearchIndex") == 2)
        stage.on_answer = lambda: None
        denied.clear()
        stage.ahead += RETRY_AFTER
        await stage.until(lambda: len(stage.answers) == 3)
        assert len(stage.names) == len(set(stage.names)) == 250

    play(scenario)


@pytest.mark.parametrize("status", [IndexStatus.BUILDING, IndexStatus.REBUILDING])
def test_an_index_that_is_built_is_not_read(play: Callable[..., None], status: IndexStatus) -> None:
    async def scenario(stage: Stage) -> None:
        stage.account.account.index.status = status
        await stage.until(lambda: stage.asked("DescribeIndex"))
        await asyncio.sleep(0.7)
        assert stage.asked("SearchIndex") == 0
        stage.account.account.index.status = IndexStatus.ACTIVE
        stage.ahead += RETRY_AFTER
        await stage.until(lambda: len(stage.answers) == 3)

    play(scenario)
