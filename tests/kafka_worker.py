"""A worker of a group in a process of its own, for tests that kill and stop it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from presenced.aws.client import RequestCounts
from presenced.fleet import Partition
from presenced.metrics.catalog import kept_totals
from presenced.service.partition_fleet import ShardFleet
from presenced.service.shard import Shard
from presenced.settings import Settings
from presenced.sources.inbox import InboxTurns
from presenced.sources.kafka.access import KafkaAccess
from presenced.sources.kafka.kafka_source import KafkaSource
from presenced.sources.source import SourceFiles
from presenced.store.changelog import Changelog
from presenced.system.loop import Clocks


class KafkaWorker:
    """A process that runs this module; `ask` returns what it shows and how far it is."""

    def __init__(self, directory: Path, name: str, **options: Any) -> None:
        self.log_file = directory / f"{name}.log"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kafka_worker", json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
            )

    def ask(self) -> dict[str, Any]:
        """Return what the worker shows now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, also if it is stopped or has ended."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it in order."""
        self._process.terminate()
        assert self._process.wait(30) == 0, self.log

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text()


class _Shards:
    """The shards that the worker has restored, and those of them that it shows."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        values = {"source": "kafka", "mqtt": None, **options}
        self.settings = Settings.model_validate(values)
        self.clocks = Clocks(time.monotonic, time.time)
        self.restored: dict[int, Shard] = {}
        self.shown: dict[int, Shard] = {}
        self.turns = InboxTurns(asyncio.get_running_loop())

    def open(self, partition: Partition, held_at: Callable[[], float]) -> ShardFleet:
        shard = Shard(self.settings, self.clocks, partition)
        shard.pipeline.observers.append(shard.clients)
        totals, snapshots = kept_totals(shard.sources), shard.snapshots
        store = Changelog(partition.number, shard.pipeline, totals, self.clocks, snapshots)
        return ShardFleet(shard, store, held_at, self.turns, self._restored, self._show, self._stop)

    def _restored(self, shard: Shard) -> None:
        assert shard.partition is not None
        self.restored[shard.partition.number] = shard

    def _show(self, shard: Shard) -> None:
        assert shard.partition is not None
        self.shown[shard.partition.number] = shard

    def _stop(self, shard: Shard) -> None:
        assert shard.partition is not None
        self.restored.pop(shard.partition.number, None)
        self.shown.pop(shard.partition.number, None)


def _answer(shards: _Shards, source: KafkaSource) -> dict[str, Any]:
    shown = shards.shown if source.lease.is_valid else {}
    return {
        "problems": source.problems,
        "warnings": source.warnings,
        "owned": {number: each.position for number, each in source.owned.items()},
        "partitions": source.partitions,
        "lease": source.lease.seconds,
        "lag": source.lag,
        "commits": source.transactions.commits,
        "failures": source.transactions.failures,
        "shown": {
            number: {
                client_id: [client.state, client.version, client.since]
                for client_id, client in shard.fleet.presence.clients.items()
            }
            for number, shard in shown.items()
        },
        "applied": {
            number: sum(shard.pipeline.counts.decoded.values()) for number, shard in shown.items()
        },
        "gaps": sum(sum(shard.gaps.counts.values()) for shard in shown.values()),
    }


async def _run(options: Mapping[str, Any]) -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # the log
    shards = _Shards(options)
    access = KafkaAccess(RequestCounts({}), shards.clocks)
    source = KafkaSource(shards.open, access, shards.clocks)
    await source.use(shards.settings, SourceFiles())
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def read() -> None:
        os.read(0, 2)
        os.write(answers, json.dumps(_answer(shards, source)).encode() + b"\n")

    loop.add_reader(0, read)
    while not stop.is_set():
        source.check()
        for shard in shards.restored.values():
            shard.delivery.arm()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.25)
    await source.stop()


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.argv[1])))
