"""The dashboards in config/grafana: current, whole, and of use without series per client."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from boards.__main__ import dashboards
from prometheus_server import tool
from promql import PROJECT

FILES = sorted((PROJECT / "config/grafana/dashboards").glob("*.json"))
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PER_CLIENT = ("iot_client_connected", "iot_client_last_transition", "iot_client_info")
OWN_VARIABLES = {
    "fleet": set(),
    "device": {"client_id"},
    "presenced": {"limit"},
    "scale-out": set(),
}
COMMON_VARIABLES = {"datasource", "job", "instance", "console"}


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def panels(file: Path) -> list[dict[str, Any]]:
    return [panel for panel in load(file)["panels"] if panel["type"] != "row"]


def test_they_are_current() -> None:
    assert {file.name: file.read_text() for file in FILES} == dashboards(), "make dashboards"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_dashboard_says_what_it_is_and_links_to_the_others(file: Path) -> None:
    dashboard = load(file)
    assert dashboard["description"]
    assert dashboard["tags"] == ["presenced"]
    link, console = dashboard["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["presenced"])
    assert link["includeVars"]
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert variables == COMMON_VARIABLES | OWN_VARIABLES[file.stem]
    assert console["url"] == "${console}/"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_panel_is_whole(file: Path) -> None:
    ids = [panel["id"] for panel in load(file)["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(file):
        assert panel["title"]
        assert panel["description"].endswith(".")
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        assert defaults["thresholds"]["steps"][0]["value"] is None
        assert panel["datasource"] == SOURCE
        names = [target["refId"] for target in panel["targets"]]
        assert all(names)
        assert len(set(names)) == len(names)
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            own = target["expr"] == "vector($limit)"
            assert own or 'job=~"$job",instance=~"$instance"' in target["expr"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_panels_do_not_overlap(file: Path) -> None:
    places = [panel["gridPos"] for panel in load(file)["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert not overlap(one, other)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_restarts_gaps_and_snapshots_are_marked(file: Path) -> None:
    marks = load(file)["annotations"]["list"]
    assert [mark["name"] for mark in marks] == ["restart", "gap", "snapshot of AWS's record"]
    for mark in marks:
        assert mark["datasource"] == SOURCE
        assert mark["enable"]
        assert mark["target"]["expr"].endswith("[$__rate_interval]) > 0")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shares_near_one_have_an_axis_that_shows_the_loss(file: Path) -> None:
    for panel in panels(file):
        if panel["type"] == "timeseries" and "share online" in panel["title"].lower():
            defaults = panel["fieldConfig"]["defaults"]
            assert "min" not in defaults
            assert (defaults["custom"]["axisSoftMin"], defaults["max"]) == (0.9, 1)


@pytest.mark.parametrize("name", ["fleet", "presenced", "scale-out"])
def test_only_a_row_of_its_own_needs_series_per_client(name: str) -> None:
    dashboard = load(PROJECT / f"config/grafana/dashboards/{name}.json")
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    assert all("metrics.per_client" in row["title"] for row in rows)
    below = min((row["gridPos"]["y"] for row in rows), default=10_000)
    for panel in dashboard["panels"]:
        needs = any(each in t["expr"] for t in panel.get("targets", ()) for each in PER_CLIENT)
        assert needs == (panel["gridPos"]["y"] > below)
        if needs:
            assert "per_client" in panel["fieldConfig"]["defaults"]["noValue"]


def test_panels_name_sections_of_the_runbook_and_link_to_no_page_that_may_not_be_there() -> None:
    runbook = (PROJECT / "docs/how-to/runbook.md").read_text()
    sections = set(re.findall("^#+ (.+)$", runbook, re.M))
    named = [
        section
        for file in FILES
        for panel in panels(file)
        for section in re.findall(
            r"Runbook: (.+) in docs/how-to/runbook\.md\.$", panel["description"]
        )
    ]
    assert len(named) == 5
    assert set(named) <= sections
    assert not [file.name for file in FILES if "runbook.md#" in file.read_text()]


def test_rows_lead_to_the_console_and_the_device() -> None:
    device = load(PROJECT / "config/grafana/dashboards/device.json")
    tables = [
        [link["url"] for link in panel["fieldConfig"]["defaults"]["links"]]
        for file in FILES
        for panel in panels(file)
        if panel["fieldConfig"]["defaults"].get("links")
    ]
    client = "${__data.fields.Client:percentencode}"
    assert len(tables) == 2
    for to_console, to_device in tables:
        assert to_console == f"${{console}}/#/clients/{client}"
        assert to_device.startswith(f"/d/{device['uid']}/")
        assert f"var-client_id={client}" in to_device


def expression(name: str, title: str) -> str:
    """The query of a panel with one number, for all daemons."""
    (found,) = (
        target["expr"]
        for panel in panels(PROJECT / f"config/grafana/dashboards/{name}.json")
        if panel["title"] == title and panel["type"] == "stat"
        for target in panel["targets"]
    )
    return found.replace("$job", ".*").replace("$instance", ".*")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_number_is_that_of_now(file: Path) -> None:
    """Over a range, the last number of a daemon that is down would stand for hours."""
    for panel in panels(file):
        if panel["type"] == "stat":
            assert [target["instant"] for target in panel["targets"]] == [True]


# a has lost its connection and has the fleet of before; c is down.
PAIR = {
    'up{job="presenced",instance="a"}': "1x9",
    'up{job="presenced",instance="b"}': "1x9",
    'up{job="other",instance="x"}': "0x9",
    'presenced_ready{job="presenced",instance="a"}': "0x9",
    'presenced_ready{job="presenced",instance="b"}': "1x9",
    'iot_clients{job="presenced",instance="a",state="online"}': "100x9",
    'iot_clients{job="presenced",instance="a",state="offline"}': "0x9",
    'iot_clients{job="presenced",instance="b",state="online"}': "60x9",
    'iot_clients{job="presenced",instance="b",state="offline"}': "40x9",
}
DOWN = {'up{job="presenced",instance="c"}': "0x9"}
ALONE = {name: values for name, values in PAIR.items() if '"b"' not in name}
WORKER = {
    'up{job="presenced",instance="w"}': "1x9",
    'presenced_ready{job="presenced",instance="w"}': "1x9",
    'presenced_partition_owned{job="presenced",instance="w",partition="0"}': "1x9",
    'iot_clients{job="presenced",instance="w",partition="0",state="online"}': "1x9",
}


@pytest.mark.parametrize(
    ("series", "name", "title", "value"),
    [
        (PAIR, "fleet", "Share online", 0.6),
        (PAIR, "fleet", "Offline", 40),
        (ALONE, "fleet", "Share online", 1),
        (PAIR, "device", "Share of the fleet online", 0.6),
        (PAIR | DOWN, "presenced", "Ready", 0),
        (WORKER, "presenced", "Ready", 1),
        (WORKER | DOWN, "fleet", "presenced", 0),
        (DOWN, "fleet", "Share online", None),
        (WORKER, "scale-out", "Workers that are not ready", 0),
        (WORKER | DOWN, "scale-out", "Workers that are not ready", 1),
        (WORKER, "scale-out", "Partitions without owner", 0),
        (DOWN, "scale-out", "Partitions without owner", None),
        (DOWN, "scale-out", "Partitions not shown", None),
    ],
)
def test_a_number_counts_daemons_that_are_ready(
    series: dict[str, str], name: str, title: str, value: float | None, tmp_path: Path
) -> None:
    case = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression(name, title),
                "eval_time": "5m",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
        ],
    }
    file = tmp_path / "panel.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
