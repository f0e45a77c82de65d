"""The daemon as a process, as its users run it."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from brokers import Mosquitto, free_port
from presenced.sources.mqtt.connection_options import TlsFiles
from waiting import wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Daemon:
    """`presenced run` with a configuration file of its own, on a free loopback port."""

    def __init__(
        self,
        directory: Path,
        *,
        broker: Mosquitto | None = None,
        tls: TlsFiles | None = None,
        endpoint: str = "localhost",
        **sections: dict[str, Any],
    ) -> None:
        self.port = free_port()
        self.config = directory / "presenced.yaml"
        self.log_file = directory / "presenced.log"
        self.settings: dict[str, Any] = {
            "mqtt": {
                "endpoint": endpoint,
                "port": broker.port if broker else free_port(),
                "tls": {"cert": str(tls.cert), "key": str(tls.key), "ca": str(tls.ca)}
                if tls
                else False,
            },
            "metrics": {"listen": f"127.0.0.1:{self.port}"},
        }
        for section, keys in sections.items():
            self.settings.setdefault(section, {}).update(keys)
        health = self.settings["metrics"].get("health_listen")
        self.health_port = int(health.rpartition(":")[2]) if health else self.port
        self.write()
        self.command = [sys.executable, "-m", "presenced", "run", "--config", str(self.config)]
        self._process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        """Write the configuration file from `settings`."""
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self) -> None:
        """Start it and return when it answers."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for(self._answers, what="the listener")

    def fail_to_start(self) -> str:
        """Start it where it must end with status 1; what it says then."""
        ended = subprocess.run(
            self.command, capture_output=True, text=True, check=False, timeout=30
        )
        assert ended.returncode == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stderr

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"presenced ended: {self.log_file.read_text()}"
        try:
            return self.get("/-/healthy", self.health_port)[0] == 200
        except OSError:
            return False

    def get(self, path: str, port: int | None = None, **headers: str) -> tuple[int, str]:
        """Status and text of an answer."""
        url = f"http://127.0.0.1:{port or self.port}{path}"
        return self._ask(urllib.request.Request(url, headers=headers))

    def post(self, path: str) -> tuple[int, str]:
        """Status and text of the answer to a POST without body."""
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", b""))

    def _ask(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    @property
    def ready(self) -> bool:
        return self.get("/-/ready")[0] == 200

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.ready, timeout=30, what="readiness")

    def scrape(self) -> Samples:
        """Every sample of /metrics."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series, None where there is none."""
        return self.scrape().get((name, frozenset(labels.items())))

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def running(self) -> bool:
        """Whether its process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit status, once it has ended; subprocess.TimeoutExpired if it does not."""
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
