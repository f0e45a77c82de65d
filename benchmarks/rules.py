"""What the rules cost Prometheus in a fleet of many groups: `python -m benchmarks.rules`.

mosquitto, prometheus and promtool must be installed. The fleet has 100,000 clients in 5,000 thing
groups and 20 thing types. Prometheus has the shares of the groups of the last hour and of a day
ago, which the rules look at, and evaluates config/prometheus/rules every 15 s. Printed are the
medians of what each group of rules and the slowest rules take, and how many series the recording
rules make.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import yaml

from benchmarks.broker import Broker
from benchmarks.events import Event, Lives, client_id
from benchmarks.exporters import Presenced
from benchmarks.processes import Process, free_port
from benchmarks.publisher import Publisher, encoded
from benchmarks.scraping import scrape
from benchmarks.waiting import wait_for

CLIENTS, GROUPS, TYPES = 100_000, 5_000, 20
EVERY, EVALUATIONS = 15, 3
_RULES = Path("config/prometheus/rules")
_AT_ONCE = 20_000
_SLOWEST = 5
_LONGEST_INTERVAL = 120.0
_SECTIONS: dict[str, Any] = {
    "mqtt": {"connections": [["$aws/events/#"]]},
    "metrics": {"max_clients": CLIENTS},
    "log": {"level": "warning"},
}


class Prometheus(Process):
    """A Prometheus with the project's rules, and with the shares of the groups before now."""

    def __init__(self, directory: Path, target: int) -> None:
        self.port = free_port()
        data = directory / "data"
        _write_history(directory / "history.txt", data)
        config = directory / "prometheus.yml"
        job = {"job_name": "presenced", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        settings = {
            "global": {"scrape_interval": "15s", "evaluation_interval": f"{EVERY}s"},
            "rule_files": [str(_RULES.resolve() / "*.yml")],
            "scrape_configs": [job],
        }
        config.write_text(yaml.safe_dump(settings))
        command = [
            _tool("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        super().__init__(command, directory / "prometheus.log")

    def get(self, path: str) -> Any:
        """Return `data` from the JSON of an API path. Raises OSError until Prometheus listens."""
        return json.loads(scrape(self.port, f"/api/v1/{path}").text)["data"]

    def count(self, selector: str) -> int:
        """How many series an instant query finds."""
        result = self.get(f"query?query={quote(f'count({selector})')}")["result"]
        return int(result[0]["value"][1]) if result else 0

    def groups(self) -> list[Mapping[str, Any]]:
        """The groups of rules, with how long their last evaluation took."""
        try:
            groups: list[Mapping[str, Any]] = self.get("rules")["groups"]
        except (OSError, SystemExit):
            self.check()
            return []
        return groups


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            Broker(directory) as broker,
            Presenced(directory, broker, qos=1, **_SECTIONS) as daemon,
            Publisher(broker.port) as publisher,
        ):
            lives = Lives()
            _send(publisher, daemon, lives.connect(range(CLIENTS)))
            _send(publisher, daemon, _things())
            with Prometheus(directory, daemon.port) as prometheus:
                _evaluations(prometheus, 1)  # the first ones have no samples
                lost = range(0, CLIENTS, 10)
                _send(publisher, daemon, lives.disconnect(lost))
                _report(prometheus, _evaluations(prometheus, EVALUATIONS))


def _send(publisher: Publisher, daemon: Presenced, events: Iterator[Event]) -> None:
    while blocks := encoded(islice(events, _AT_ONCE), qos=1):
        publisher.send(blocks)
        daemon.wait_until_idle()


def _things() -> Iterator[Event]:
    """A thing of each client, with a type, in a group."""
    for number in range(CLIENTS):
        name, kind = client_id(number), f"type-{number % TYPES}"
        thing = {"thingName": name, "thingId": name, "versionNumber": 1, "thingTypeName": kind}
        yield Event(f"$aws/events/thing/{name}/created", json.dumps(thing).encode())
        group = f"group-{number % GROUPS}"
        topic = f"$aws/events/thingGroupMembership/thingGroup/{group}/thing/{name}/added"
        yield Event(topic, b'{"operation": "ADDED"}')


def _write_history(text: Path, data: Path) -> None:
    """Store the share of each group of the last 75 minutes, and of ten around a day ago."""
    now = int(time.time())
    times = [*range(now - 86_700, now - 86_100, EVERY), *range(now - 4_500, now, EVERY)]
    name = "fleet_thing_group:iot_clients_online:ratio"
    with text.open("w") as out:
        out.write(f"# TYPE {name} gauge\n")
        for number in range(GROUPS):
            series = f'{name}{{job="presenced",thing_group="group-{number}"}} 1'
            out.writelines(f"{series} {at}\n" for at in times)
        out.write("# EOF\n")
    words = ("tsdb", "create-blocks-from", "openmetrics", str(text), str(data))
    command = [_tool("promtool"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is not installed: apt-get install prometheus")
    return path


def _evaluations(prometheus: Prometheus, count: int) -> dict[str, list[float]]:
    """Seconds of each group and each rule, of so many evaluations or more from now on."""
    seconds: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, str] = {}

    def note() -> bool:
        for group in prometheus.groups():
            if seen.get(group["name"]) == group["lastEvaluation"]:
                continue
            if group["name"] in seen:  # the first one was before the call
                seconds[f"group {group['name']}"].append(group["evaluationTime"])
                for rule in group["rules"]:
                    seconds[f"rule {rule['name']}"].append(rule["evaluationTime"])
            seen[group["name"]] = group["lastEvaluation"]
        time.sleep(0.5)
        return bool(seen) and all(len(seconds[f"group {name}"]) >= count for name in seen)

    wait_for(note, f"{count} evaluations of each rule", within=_LONGEST_INTERVAL * (count + 2.0))
    return seconds


def _report(prometheus: Prometheus, seconds: Mapping[str, list[float]]) -> None:
    medians = {name: median(runs) for name, runs in seconds.items()}
    ordered = sorted(medians, key=lambda name: -medians[name])
    groups = [name for name in ordered if name.startswith("group ")]
    rules = [name for name in ordered if name.startswith("rule ")]
    for name in (*groups, *rules[:_SLOWEST]):
        print(f"{name:56}{medians[name] * 1e3:>9.1f} ms{max(seconds[name]) * 1e3:>9.1f} ms at most")
    recorded = {
        rule["name"]
        for group in prometheus.groups()
        for rule in group["rules"]
        if rule["type"] == "recording"
    }
    series = {name: prometheus.count(name) for name in recorded}
    print(f"{'series of recording rules':56}{sum(series.values()):>9,}")
    for name in sorted(series, key=lambda name: -series[name])[:_SLOWEST]:
        print(f"  {name:54}{series[name]:>9,}")
    total = prometheus.count('{__name__=~".+"}')
    print(f"{'series of all':56}{total:>9,}")
    print(f"{'memory of Prometheus':56}{prometheus.resident / 1e6:>9,.0f} MB")


if __name__ == "__main__":
    main()
