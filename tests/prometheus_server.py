"""A real Prometheus for tests."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from brokers import free_port, missing


def tool(name: str) -> str:
    """The path of a program of the package prometheus; skips the test without it."""
    return shutil.which(name) or missing(f"{name} is not installed: apt-get install prometheus")


class Prometheus:
    """A Prometheus that scrapes loopback ports ten times a second.

    `scrape` is what its scrape_config holds besides.
    """

    def __init__(self, directory: Path, *targets: int, **scrape: Any) -> None:
        self.port = free_port()
        config = directory / "prometheus.yml"
        job = {
            "job_name": "presenced",
            "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}],
            **scrape,
        }
        config.write_text(
            yaml.safe_dump({"global": {"scrape_interval": "100ms"}, "scrape_configs": [job]})
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
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10
            ) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return None
        return [float(sample["value"][1]) for sample in result]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
