"""`presenced record` of the emulated broker and AWS's operations, and a replay of the recording."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates
from presenced_emulator.clients import DeviceConnection, Server
from presenced_emulator.daemon import clean_environment, configuration

COMMAND = (sys.executable, "-m", "presenced")
DEADLINE = 30.0
NAMES = [f"Secr3t-{number}" for number in range(12)]
T = "1s"


class Recording:
    """`presenced record` as a process, and what it has written."""

    def __init__(self, directory: Path, environment: dict[str, str], *arguments: str) -> None:
        self.config = directory / "presenced.yaml"
        self.out = directory / "fleet.jsonl"
        self.errors = ""
        self._environment = environment
        self._arguments = arguments
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "record",
            *("--config", str(self.config)),
            *self._arguments,
            str(self.out),
            env=self._environment,
            stderr=asyncio.subprocess.PIPE,
        )

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        _, errors = await self._process.communicate()
        self.errors = errors.decode()
        assert self._process.returncode == 0, self.errors

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    @property
    def lines(self) -> list[dict[str, Any]]:
        text = self.out.read_text() if self.out.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "operation" in line]

    def events(self, kind: str) -> int:
        return sum(f"/presence/{kind}/" in line.get("topic", "") for line in self.lines)

    async def replayed(self, shown: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("replay", "--config", str(self.config), "--print", shown, str(self.out)),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.05)


async def live(broker: EmulatedBroker, certificates: Certificates, recording: Recording) -> None:
    """Connect half of the devices before the recording, and change some during it."""
    devices = Server("localhost", broker.port, certificates.devices)
    links = {name: await DeviceConnection.open(devices, name, keep_alive=30) for name in NAMES[:8]}
    links[NAMES[0]].drop()
    await until(lambda: len(broker.truth().connected) == 7)
    await recording.start()
    await until(lambda: recording.answers)
    links[NAMES[1]].drop()
    links[NAMES[8]] = await DeviceConnection.open(devices, NAMES[8], keep_alive=30)
    await until(lambda: recording.events("connected") and recording.events("disconnected"))
    # The second snapshot settles what the first one left in doubt.
    await until(lambda: len(recording.answers) == 2)


@pytest.fixture
def recorded(
    certificates: Certificates, tmp_path: Path
) -> Iterator[Callable[..., tuple[Recording, set[str]]]]:
    """Record a fleet; returns the recording and who is connected at its end."""
    made: list[Recording] = []

    async def record(*arguments: str, denied: str | None = None) -> tuple[Recording, set[str]]:
        async with EmulatedBroker(certificates, seed=1) as broker:
            account = EmulatedAccount(broker.registry, broker.connections)
            broker.on_event(lambda message: account.on_event(message, time.time()))
            for name in NAMES:
                attributes = {"site": "Secr3t-north"}
                for message in broker.registry.create_thing(
                    name, time.time(), thing_type="Secr3t-pump", attributes=attributes
                ):
                    broker.publish(message)
            async with AwsServer(account, certificates.aws, seed=1) as aws:
                if denied is not None:
                    aws.faults.denied.add(denied)
                sections = {
                    "aws": {
                        "region": "eu-west-1",
                        "iot_url": aws.http_url,
                        "data_url": aws.http_url,
                    },
                    "reconcile": {"enabled": True},
                }
                text = configuration(
                    certificates, port=broker.port, listen="127.0.0.1:9883", sections=sections
                )
                (tmp_path / "presenced.yaml").write_text(text)
                environment = {
                    **clean_environment(),
                    **aws.issue("presenced-role").environment,
                    "PRESENCED_PRESENCE__TIMESTAMP_ACCURACY": T,
                }
                recording = Recording(tmp_path, environment, *arguments)
                made.append(recording)
                if denied is None:
                    await live(broker, certificates, recording)
                else:
                    await recording.start()
                    await until(lambda: aws.requests)
                    await asyncio.sleep(0.5)
                await recording.stop()
                operations = {request.operation for request in aws.requests}
                assert operations <= {"DescribeIndex", "SearchIndex"}
                return recording, set(broker.truth().connected)

    yield lambda *arguments, **options: asyncio.run(record(*arguments, **options))
    for each in made:
        each.kill()


def test_a_replay_ends_with_the_clients_of_the_broker(recorded: Callable[..., Any]) -> None:
    recording, connected = recorded()
    shown = [json.loads(line) for line in asyncio.run(recording.replayed("clients")).splitlines()]
    states = {client["client_id"]: client["state"] for client in shown}
    assert {name for name, state in states.items() if state == "online"} == connected & set(NAMES)
    assert Counter(states.values()) == {"online": 7, "offline": 2, "unknown": 3}
    assert "and 2 answers of AWS" in recording.errors
    first, second = recording.answers
    assert first["asked"] <= first["received"] < second["asked"]
    metrics = asyncio.run(recording.replayed("metrics"))
    assert 'iot_clients_adopted_total{state="online"} 7.0' in metrics
    assert 'iot_thing_type_clients{state="online",thing_type="Secr3t-pump"} 7.0' in metrics


def test_anonymous_answers_keep_their_meaning(recorded: Callable[..., Any]) -> None:
    recording, _ = recorded("--anonymize")
    assert "secr3t" not in recording.out.read_text().lower()
    shown = [json.loads(line) for line in asyncio.run(recording.replayed("clients")).splitlines()]
    assert Counter(client["state"] for client in shown) == {
        "online": 7,
        "offline": 2,
        "unknown": 3,
    }


def test_a_refusal_is_told_and_messages_are_recorded_without_answers(
    recorded: Callable[..., Any],
) -> None:
    recording, _ = recorded(denied="SearchIndex")
    assert recording.answers == []
    assert "the snapshot of AWS's record failed" in recording.errors
    assert "iot:SearchIndex" in recording.errors
