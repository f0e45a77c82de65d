"""`presenced run` as a worker of a consumer group, and a bare client of Kafka in its place."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.exporters import Server
from benchmarks.kafka_broker import KafkaBroker
from benchmarks.processes import Process, free_port
from benchmarks.scraping import scrape
from benchmarks.waiting import wait_for

__all__ = ["BareWorker", "KafkaWorker", "create_topics"]

_SHOWN = re.compile(rb'^iot_clients\{partition="(\d+)"', re.MULTILINE)


class KafkaWorker(Server):
    """A worker with the defaults of the daemon, but for what `sections` say; `port` 0 is any."""

    def __init__(
        self,
        directory: Path,
        broker: KafkaBroker,
        name: str = "worker",
        port: int = 0,
        **sections: Any,
    ) -> None:
        self.name = name
        port = port or free_port()
        config = directory / f"{name}.yaml"
        config.write_text(yaml.safe_dump(_configuration(broker, port, **sections)))
        command = [sys.executable, "-m", "presenced", "run", "--config", str(config)]
        super().__init__(command, directory, port)

    @property
    def shown(self) -> set[int]:
        """The partitions whose clients it shows."""
        return set(map(int, _SHOWN.findall(scrape(self.port).text)))

    def wait_for_partitions(self, count: int) -> None:
        """Return when it is ready, and shows so many partitions."""
        wait_for(
            lambda: self._is_ready() and len(self.shown) == count,
            f"{self.name} shows {count} partitions",
            within=120.0,
        )

    def _is_ready(self) -> bool:
        self.check()
        try:
            return bool(scrape(self.port, "/-/ready").text)
        except SystemExit:
            return False


class BareWorker(Process):
    """See `benchmarks.bare_worker`."""

    def __init__(self, directory: Path, broker: KafkaBroker) -> None:
        command = [sys.executable, "-m", "benchmarks.bare_worker", broker.bootstrap]
        super().__init__(command, directory / "bare-worker.log")

    def wait_for_partitions(self, count: int) -> None:
        """Return when it has so many partitions."""
        wait_for(
            lambda: f"{count} partitions" in self.log.read_text(),
            f"the bare worker has {count} partitions",
            within=120.0,
        )


def create_topics(directory: Path, broker: KafkaBroker, partitions: int) -> None:
    """Create the topics, as an operator does."""
    config = directory / "topics.yaml"
    config.write_text(yaml.safe_dump(_configuration(broker, free_port())))
    command = [sys.executable, "-m", "presenced", "kafka", "create-topics", "--config", str(config)]

    def is_done() -> bool:
        # It gives up after 5 s without an answer, which on a busy machine is soon.
        options = ["--partitions", str(partitions)]
        return not subprocess.run([*command, *options], stdout=subprocess.DEVNULL).returncode

    wait_for(is_done, "the topics are created", within=60.0)


def _configuration(broker: KafkaBroker, port: int, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a worker."""
    settings: dict[str, Any] = {
        "source": "kafka",
        "kafka": {"bootstrap_servers": [broker.bootstrap], "security": {"protocol": "PLAINTEXT"}},
        "metrics": {"listen": f"127.0.0.1:{port}"},
        "log": {"level": "warning"},
    }
    for section, keys in sections.items():
        settings.setdefault(section, {}).update(keys)
    return settings
