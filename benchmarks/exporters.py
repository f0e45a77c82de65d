"""Whom events are sent to: presenced, its peers, and a subscriber that only counts.

The peers are set up as their documentation says, for the two series per client that presenced has
too: whether it is connected, and since when or by which event time.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.broker import Broker
from benchmarks.processes import Process, free_port
from benchmarks.scraping import samples, scrape
from benchmarks.waiting import wait_for

__all__ = [
    "EXPORTERS",
    "PEERS",
    "BareSubscriber",
    "CustomCollector",
    "Exporter",
    "Mqtt2Prometheus",
    "MqttExporter",
    "Presenced",
    "ProbedPresenced",
    "Server",
    "configuration",
]

PEERS = Path("build/peers/bin")
"""The virtual environment of the peer that is written in Python; `make bench` sets it up."""

_TOPICS = "$aws/events/presence/+/+"


class Server(Process):
    """A program whose metrics can be scraped at `port`."""

    name: str

    def __init__(
        self,
        command: list[str],
        directory: Path,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        super().__init__(command, directory / f"{self.name}.log", environment)
        wait_for(self._listens, f"{self.name} listens")

    def _listens(self) -> bool:
        self.check()
        try:
            scrape(self.port)
        except OSError:
            return False
        return True


class CustomCollector(Server):
    """The per-client series of presenced by a custom collector, behind a server of its own."""

    name = "custom-collector"

    def __init__(self, directory: Path, clients: int) -> None:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.custom_collector", str(clients), str(port)]
        super().__init__(command, directory, port)


class Exporter(Server):
    """A subscriber of lifecycle events, of which Prometheus can scrape how many it has taken."""

    counter: str

    def __init__(
        self,
        command: list[str],
        directory: Path,
        broker: Broker,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(command, directory, port, environment)
        broker.wait_for_subscription(self.name)
        self.wait_until_idle()

    @property
    def taken(self) -> int:
        """How many events it has taken into account."""
        return int(sum(samples(scrape(self.port).text, self.counter)))


class Presenced(Exporter):
    """`presenced run`, with its defaults but for what `sections` say."""

    name = "presenced"
    counter = "iot_events_total"

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        qos: int = 0,
        environment: Mapping[str, str] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        port = free_port()
        config = directory / "presenced.yaml"
        config.write_text(yaml.safe_dump(configuration(broker, port, qos, **sections)))
        super().__init__(self._command(config), directory, broker, port, environment)
        wait_for(self._is_ready, "presenced is ready")

    def _command(self, config: Path) -> list[str]:
        return [sys.executable, "-m", "presenced", "run", "--config", str(config)]

    def _is_ready(self) -> bool:
        try:
            return bool(scrape(self.port, "/-/ready").text)
        except SystemExit:
            return False


class Pause(NamedTuple):
    """A pause of the event loop in seconds, and how much processor time it took of that."""

    ended: float
    seconds: float
    processor: float


class ProbedPresenced(Presenced):
    """The daemon with a probe in its event loop; see `benchmarks.loop_probe`."""

    def _command(self, config: Path) -> list[str]:
        self._pauses = config.with_name("pauses")
        return [sys.executable, "-m", "benchmarks.loop_probe", str(config), str(self._pauses)]

    def longest_pause(self, since: float) -> float:
        """Seconds of the longest pause that ended after `since`, on `time.perf_counter`."""
        return max((pause.seconds for pause in self.pauses(since)), default=0.0)

    def pauses(self, since: float) -> list[Pause]:
        """The pauses that ended after `since`."""
        # The last line may be incomplete.
        lines = self._pauses.read_text().split("\n")[:-1]
        pauses = (Pause(*map(float, line.split())) for line in lines)
        return [pause for pause in pauses if pause.ended >= since]


def configuration(
    broker: Broker, port: int, qos: int, **sections: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a presenced at a broker that has no limit of messages a second."""
    settings: dict[str, Any] = {
        "mqtt": {
            "endpoint": "127.0.0.1",
            "port": broker.port,
            "tls": False,
            "client_id": Presenced.name,
            "connections": [[_TOPICS]],
            "qos": qos,
        },
        "metrics": {"listen": f"127.0.0.1:{port}"},
    }
    for section, keys in sections.items():
        settings.setdefault(section, {}).update(keys)
    return settings


class Mqtt2Prometheus(Exporter):
    """Debian's prometheus-mqtt-exporter, which is mqtt2prometheus."""

    name = "mqtt2prometheus"
    counter = "received_messages"
    executable = "prometheus-mqtt-exporter"

    def __init__(self, directory: Path, broker: Broker) -> None:
        executable = shutil.which(self.executable)
        if executable is None:
            raise SystemExit(
                f"{self.executable} is not installed: apt-get install {self.executable}"
            )
        port = free_port()
        config = directory / "mqtt2prometheus.yaml"
        settings = {
            "mqtt": {
                "server": f"tcp://127.0.0.1:{broker.port}",
                "client_id": self.name,
                "topic_path": _TOPICS,
                "device_id_regex": "(.*/)?(?P<deviceid>.*)",
                "qos": 0,
            },
            "cache": {"timeout": "24h"},
            "metrics": [
                {
                    "prom_name": "client_connected",
                    "mqtt_name": "eventType",
                    "help": "Whether the client is connected.",
                    "type": "gauge",
                    "omit_timestamp": True,
                    "string_value_mapping": {"map": {"connected": 1, "disconnected": 0}},
                },
                {
                    "prom_name": "client_last_event_timestamp",
                    "mqtt_name": "timestamp",
                    "help": "Event time in milliseconds.",
                    "type": "gauge",
                    "omit_timestamp": True,
                },
            ],
        }
        config.write_text(yaml.safe_dump(settings))
        command = [executable, "-config", str(config), "-listen-address", "127.0.0.1"]
        super().__init__([*command, "-listen-port", str(port)], directory, broker, port)


class MqttExporter(Exporter):
    """mqtt-exporter of PyPI. It makes a series of every field that is a number, or is mapped."""

    name = "mqtt-exporter"
    counter = "mqtt_message_total"

    def __init__(self, directory: Path, broker: Broker) -> None:
        port = free_port()
        environment = {
            "MQTT_ADDRESS": "127.0.0.1",
            "MQTT_PORT": str(broker.port),
            "MQTT_CLIENT_ID": self.name,
            "MQTT_TOPIC": _TOPICS,
            "STATE_VALUES": "connected=1,disconnected=0",
            "PROMETHEUS_ADDRESS": "127.0.0.1",
            "PROMETHEUS_PORT": str(port),
        }
        command = [str(PEERS / "python"), "-m", "mqtt_exporter"]
        super().__init__(command, directory, broker, port, environment)


class BareSubscriber(Exporter):
    """A subscriber of the transport's own library that only counts."""

    name = "bare-awscrt"
    counter = "messages"

    def __init__(self, directory: Path, broker: Broker) -> None:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.bare_subscriber", self.name]
        super().__init__([*command, str(broker.port), _TOPICS, str(port)], directory, broker, port)


EXPORTERS: tuple[type[Presenced | Mqtt2Prometheus | MqttExporter | BareSubscriber], ...] = (
    Presenced,
    Mqtt2Prometheus,
    MqttExporter,
    BareSubscriber,
)
"""In the order in which they take turns."""
