"""The dashboards in config/grafana: current, whole, and of use without series per client."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from boards.__main__ import dashboards
from promql import PROJECT

FILES = sorted((PROJECT / "config/grafana/dashboards").glob("*.json"))
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PER_CLIENT = ("iot_client_connected", "iot_client_last_transition", "iot_client_info")
OWN_VARIABLES = {"fleet": set(), "device": {"client_id"}, "presenced": {"limit"}}


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
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["presenced"])
    assert link["includeVars"]
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"} | OWN_VARIABLES[file.stem]


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


@pytest.mark.parametrize("name", ["fleet", "presenced"])
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


def test_a_client_in_fleet_leads_to_device() -> None:
    device = load(PROJECT / "config/grafana/dashboards/device.json")
    links = [
        link["url"]
        for panel in panels(PROJECT / "config/grafana/dashboards/fleet.json")
        for link in panel["fieldConfig"]["defaults"].get("links", ())
    ]
    assert len(links) == 2
    for url in links:
        assert url.startswith(f"/d/{device['uid']}/")
        assert "var-client_id=${__data.fields.Client:percentencode}" in url
