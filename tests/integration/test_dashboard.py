"""Every query of the Grafana dashboards has an answer in a Prometheus that scrapes the demo."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from brokers import free_port
from prometheus_server import Prometheus, tool
from waiting import wait_for

DASHBOARDS = sorted((Path(__file__).parents[2] / "config/grafana/dashboards").glob("*.json"))
MACROS = {"$__rate_interval": "1m", "$instance": ".*"}


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def queries(file: Path) -> Iterator[str]:
    for panel in load(file)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for macro, value in MACROS.items():
                expression = expression.replace(macro, value)
            yield expression


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    tool("prometheus")
    directory, port = tmp_path_factory.mktemp("dashboards"), free_port()
    with (directory / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "presenced", "demo", "--listen", f"127.0.0.1:{port}"],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(directory, port)
    try:
        wait_for(lambda: server.query('iot_clients{state="offline"} > 0'), 60, "clients offline")
        yield server
    finally:
        server.stop()
        demo.terminate()
        demo.wait(10)


@pytest.mark.parametrize(
    "query", [pytest.param(each, id=each) for file in DASHBOARDS for each in queries(file)]
)
def test_a_query(prometheus: Prometheus, query: str) -> None:
    wait_for(lambda: prometheus.query(query) is not None, 60, query)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_the_instances_to_choose_from(prometheus: Prometheus, file: Path) -> None:
    variables = {each["name"]: each for each in load(file)["templating"]["list"]}
    query = variables["instance"]["query"]["query"]
    metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
    url = f"http://127.0.0.1:{prometheus.port}/api/v1/label/{label}/values?match[]={metric}"
    with urllib.request.urlopen(url) as answer:
        assert len(json.load(answer)["data"]) == 1


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_a_dashboard_hangs_together(file: Path) -> None:
    dashboard = load(file)
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        assert not overlap(one, other)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_there_is_one() -> None:
    assert DASHBOARDS
