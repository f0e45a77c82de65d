"""A real Prometheus for tests."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from brokers import free_port, missing


def tool(name: str) -> str:
    """The path of a program of the package prometheus; skips the test without it."""
    return shutil.which(name) or missing(f"{name} is not installed: apt-get install prometheus")


class Prometheus:
    """A Prometheus that scrapes loopback ports ten times a second.

    `rules` are files of rules, evaluated every second; `scrape` is what its scrape_config holds
    besides.
    """

    def __init__(
        self, directory: Path, *targets: int, rules: Iterable[Path] = (), **scrape: Any
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = directory / "prometheus.yml"
        job = {
            "job_name": "presenced",
            "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}],
            **scrape,
        }
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "100ms", "evaluation_interval": "1s"},
                    "rule_files": [str(file) for file in rules],
                    "scrape_configs": [job],
                }
            )
        )
        with (directory / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    tool("prometheus"),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def query(self, expression: str) -> float | None:
        """The one value of an instant query, None where there is none."""
        values = self.values(expression)
        return values[0] if values else None

    def values(self, expression: str) -> list[float] | None:
        """The values of an instant query, None while Prometheus does not answer."""
        try:
            result = self.get("query", query=expression)["result"]
        except OSError:
            return None
        return [float(sample["value"][1]) for sample in result]

    def get(self, endpoint: str, **words: str) -> Any:
        """Return `data` from the JSON of an API path. Raises OSError without an answer."""
        url = f"{self.url}/api/v1/{endpoint}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
