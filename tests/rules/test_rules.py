"""The rules in config/prometheus, by promtool, and the runbook of their alerts."""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus_server import tool
from promql import PROJECT, shown

RULES = sorted((PROJECT / "config/prometheus/rules").glob("*.yml"))
CASES = sorted(Path(__file__).parent.glob("*.test.yml"))
RUNBOOK = (PROJECT / "docs/how-to/runbook.md").read_text()
SEVERITIES = {"critical", "warning", "info"}
PER_CLIENT = re.compile(r"\b(iot_client_connected|iot_client_last_transition|iot_client_info)")


def load(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in load(file)["groups"] for rule in group["rules"]]


ALERTS = [rule for file in RULES for rule in rules(file) if "alert" in rule]
NAMES = {alert["alert"] for alert in ALERTS}
RECORDS = {rule["record"] for file in RULES for rule in rules(file) if "record" in rule}


def promtool(*words: str) -> str:
    done = subprocess.run(
        [tool("promtool"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=CASES[0].parent,
        # Collecting garbage at each doubling of the heap, as Go does, takes a quarter of the time.
        env=os.environ | {"GOGC": "400"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_them() -> None:
    promtool("check", "rules", *map(str, RULES))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name)
def test_cases(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file.name)


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[str, set[bool]] = defaultdict(set)
    severities: dict[str, set[str]] = defaultdict(set)
    for subject, samples in evaluations():
        fired = [labels for labels in samples if f'alertname="{subject}"' in labels]
        fires[subject].add(bool(fired))
        for labels in fired:
            severities[subject] |= set(re.findall(r'severity="(\w+)"', labels))
    assert fires == {name: {True, False} for name in NAMES}
    for alert in ALERTS:
        assert alert["labels"]["severity"] in severities[alert["alert"]]


def evaluations() -> Iterator[tuple[str, list[str]]]:
    """The alert that each case is about, with the labels of what fires in it."""
    for file in CASES:
        for case in load(file)["tests"]:
            subject, _, _ = case["name"].partition(":")
            if subject == "Recording rules":
                continue
            for each in case["promql_expr_test"]:
                assert "ALERTS" in each["expr"]
                yield subject, [sample.get("labels", "") for sample in each["exp_samples"]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_tells_what_a_person_needs(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in SEVERITIES
    annotations = alert["annotations"]
    assert set(annotations) >= {"summary", "description", "action", "runbook_url"}
    assert len(annotations["summary"]) < 200
    assert len(annotations["description"]) > 80
    assert len(annotations["action"]) > 20
    page = "/how-to/runbook.md"
    link = f"{{{{ with $externalLabels.docs_url }}}}{{{{ . }}}}{page}#{alert['alert'].lower()}"
    named = f"{alert['alert']} in docs{page}"
    assert annotations["runbook_url"] == f"{link}{{{{ else }}}}{named}{{{{ end }}}}"


SINCE = (
    '{{{{ $of := `alertname="{name}"{severity}` }}}}'
    "{{{{ range $n, $v := $labels }}}}{{{{ if ne $n `__name__` }}}}"
    "{{{{ $of = printf `%s,%s=%q` $of $n $v }}}}{{{{ end }}}}{{{{ end }}}}"
    "{{{{ with printf `ALERTS_FOR_STATE{{%s}}` $of | query }}}}"
    "{{{{ (. | first | value | toTime).UTC.Format `2006-01-02 15:04 MST` }}}}{{{{ end }}}}"
)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_tells_since_when(alert: dict[str, Any]) -> None:
    """A query for each of thousands of devices would be too much: their summary has it."""
    since = alert["annotations"].get("since")
    if alert["alert"].startswith("Device"):
        assert since is None
        assert "$value" in alert["annotations"]["summary"]
    else:
        # The first message of the next severity must not have the time of the one before.
        is_one_of_many = sum(each["alert"] == alert["alert"] for each in ALERTS) > 1
        severity = f',severity="{alert["labels"]["severity"]}"' if is_one_of_many else ""
        assert since == SINCE.format(name=alert["alert"], severity=severity)


def test_the_text_of_each_alert_is_rendered_in_a_case() -> None:
    rendered = {
        check["alertname"]
        for file in CASES
        for case in load(file)["tests"]
        for check in case.get("alert_rule_test", ())
        if check["exp_alerts"] and all(alert["exp_annotations"] for alert in check["exp_alerts"])
    }
    assert rendered == NAMES


def test_each_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(sections) == sorted(NAMES)


def test_only_the_alerts_on_devices_need_series_per_client() -> None:
    for file in RULES:
        need = [rule for rule in rules(file) if PER_CLIENT.search(rule["expr"])]
        assert need == (rules(file) if file.name == "devices.yml" else [])


def test_the_runbook_sets_the_label_of_which_links_are_made(tmp_path: Path) -> None:
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", RUNBOOK, re.DOTALL) if "docs_url" in b)
    config = tmp_path / "prometheus.yml"
    config.write_text(block)
    promtool("check", "config", str(config))
    assert list(yaml.safe_load(block)["global"]["external_labels"]) == ["docs_url"]


@pytest.mark.parametrize("page", ["docs/how-to/runbook.md", "docs/how-to/cookbook.md"])
def test_recorded_series_that_a_page_names_are_recorded(page: str) -> None:
    named = {name for query in shown(page) for name in re.findall(r"\w+:\w+:\w+", query)}
    assert named
    assert named <= RECORDS


def test_every_record_is_of_use() -> None:
    pages = [
        query
        for page in ("docs/how-to/runbook.md", "docs/how-to/cookbook.md")
        for query in shown(page)
    ]
    texts = [text for alert in ALERTS for text in alert["annotations"].values()]
    queries = "\n".join([*(rule["expr"] for file in RULES for rule in rules(file)), *pages, *texts])
    assert {name for name in RECORDS if not re.search(rf"\b{name}\b", queries)} == set()
