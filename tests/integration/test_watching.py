"""What people look at, on one run of the demo: dashboards, rules, and the PromQL of the documents.

It is one test, because the demo and Prometheus would else be started by each of pytest's workers.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from brokers import free_port
from draw_dashboards import draw
from panel_data import PromQLError, Series, Source, queries
from presenced.metrics.catalog import CATALOG, PER_CLIENT
from prometheus_server import Prometheus, tool
from promql import PAGES_WITH_QUERIES, PROJECT, shown
from waiting import wait_for

DASHBOARDS = {
    file.stem: json.loads(file.read_text())
    for file in sorted((PROJECT / "config/grafana/dashboards").glob("*.json"))
}
RULES = sorted((PROJECT / "config/prometheus/rules").glob("*.yml"))
DEADLINE = 90
RESTLESS = "topk(1, changes(iot_client_connected[1m]) > 1 and on (client_id) iot_client_info)"
# The demo has no state file, its connection does not fail, it loses no event and sends no other,
# and AWS refuses it nothing; and there was no yesterday.
EMPTY = (
    "presenced_state_commit_duration_seconds",
    "presenced_state_commit_failures_total",
    "presenced_mqtt_connection_failures_total",
    "iot_events_rejected_total",
    "iot_events_missed_total",
    'presenced_aws_requests_total{result!="ok"',
    # Of other sources than the demo's.
    "presenced_partition_owned",
    "presenced_kafka_lag_messages",
    "presenced_records_misplaced_total",
    "presenced_sqs_",
    'iot_clients{partition!=""',
    "offset 1d",
)
# Damping is off by default.
NO_DAMPING = {"fleet_client_id:iot_client_flapping:max"}
# The demo's broker refuses no client three times an hour.
NO_REFUSED = {"fleet_client_id:iot_client_connect_failures_recent:max"}
# No client has been taken over often enough in so short a time.
NO_FIGHT = {"fleet_client_id:iot_client_takeovers_recent:max"}
# No large part of the fleet goes offline at once.
NO_DROP = {
    "fleet:iot_clients_lost:sum10m",
    "fleet:iot_clients_online:ratio_before_drop",
    "fleet_part:iot_clients_lost:sum10m",
    "fleet_part:iot_clients_known:sum",
}
NO_YESTERDAY = {
    "fleet_part:iot_clients_lost:sum1d",
    "fleet:iot_events:increase1h_min1d",
    "fleet:iot_clients_online:ratio_usual",
    "instance_connection:presenced_mqtt_silence:seconds_usual",
}


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    tool("prometheus")
    port = free_port()
    with (tmp_path / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "presenced", "demo", "--listen", f"127.0.0.1:{port}"],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(tmp_path, port, rules=RULES)
    try:
        yield server
    finally:
        server.stop()
        demo.terminate()
        demo.wait(10)


def test_everything_has_an_answer(prometheus: Prometheus) -> None:
    wait_for(lambda: prometheus.values(RESTLESS), 60, "a device that went and came back")
    wait_until_nothing(lambda: empty_panels(prometheus))
    wait_until_nothing(lambda: empty_records(prometheus))
    # The rules on single devices are evaluated every two minutes.
    wait_until_nothing(lambda: faulty_rules(prometheus), within=150)
    assert prometheus.values('ALERTS{severity="critical",alertstate="firing"}') == []
    assert refused(prometheus) == []
    pictures_show_every_panel(prometheus)


def wait_until_nothing(find: Callable[[], list[str]], within: float = DEADLINE) -> None:
    """Wait until nothing is found; AssertionError that tells what still is."""
    found: list[str] = []

    def nothing() -> bool:
        found[:] = find()
        return not found

    try:
        wait_for(nothing, within)
    except AssertionError:
        pytest.fail("\n".join(["without data:", *found]))


def source_of(prometheus: Prometheus) -> Source:
    """Prometheus as Grafana asks it, with a device that the registry knows and that changed."""
    plain = Source(prometheus.url, span=60, rate_interval=15, variables={})
    changed = plain.instant(RESTLESS)
    client = changed[0].labels["client_id"] if changed else "nobody"
    return Source(prometheus.url, span=60, rate_interval=15, variables={"client_id": client})


def empty_panels(prometheus: Prometheus) -> list[str]:
    """What variables and panel queries do not find."""
    source = source_of(prometheus)
    return [
        f"{name}: {where}"
        for name, dashboard in DASHBOARDS.items()
        for where, found in (*variables(dashboard, source), *panels(dashboard, source))
        if not found
    ]


def variables(dashboard: dict[str, Any], source: Source) -> Iterator[tuple[str, list[str]]]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], source.labels(variable["query"]["query"])


def panels(dashboard: dict[str, Any], source: Source) -> Iterator[tuple[str, list[Series]]]:
    for title, target in queries(dashboard):
        ask = source.instant if target["instant"] else source.over_time
        found = ask(target["expr"])
        if not any(metric in target["expr"] for metric in EMPTY):
            yield f"{title}: {target['expr']}", found


def loaded_rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]


def faulty_rules(prometheus: Prometheus) -> list[str]:
    rules = loaded_rules(prometheus)
    assert len(rules) > 40
    return [f"{r['name']}: {r.get('lastError')}" for r in rules if r["health"] != "ok"]


def empty_records(prometheus: Prometheus) -> list[str]:
    names = {rule["name"] for rule in loaded_rules(prometheus) if rule["type"] == "recording"}
    rare = NO_YESTERDAY | NO_DAMPING | NO_REFUSED | NO_DROP | NO_FIGHT
    return [name for name in sorted(names - rare) if not prometheus.values(name)]


def refused(prometheus: Prometheus) -> list[str]:
    """The queries of the documents that Prometheus does not take."""
    source = source_of(prometheus)
    examples = [metric.query for metric in (CATALOG | PER_CLIENT).values()]
    in_pages = [query for page in PAGES_WITH_QUERIES for query in shown(page)]
    assert in_pages
    found = []
    for query in [*examples, *in_pages]:
        try:
            source.instant(query)
        except PromQLError as error:
            found.append(str(error))
    return found


def pictures_show_every_panel(prometheus: Prometheus) -> None:
    source = source_of(prometheus)
    for dashboard in DASHBOARDS.values():
        picture = ElementTree.fromstring(draw(dashboard, source))
        texts = {element.text for element in picture.iter() if element.text}
        assert {panel["title"] for panel in dashboard["panels"]} <= texts
