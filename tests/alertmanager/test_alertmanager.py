"""config/alertmanager with a real Alertmanager, and what people get from it.

Alerts have the labels and texts that promtool renders in tests/rules.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from alertmanager_server import CONFIG, Alertmanager, Notified, running, tool
from documentation import PROJECT
from waiting import wait_for

RULES = PROJECT / "config/prometheus/rules"
CASES = [
    case
    for file in sorted((PROJECT / "tests/rules").glob("*.test.yml"))
    for case in yaml.safe_load(file.read_text())["tests"]
]
# The first text of each.
TEXTS = {
    check["alertname"]: check["exp_alerts"][0]
    for case in reversed(CASES)
    for check in reversed(case.get("alert_rule_test", ()))
}
NAMES = {
    rule["alert"]
    for file in RULES.glob("*.yml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
INHIBITION = [
    (rule, source)
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    for source in sorted(NAMES)
    if re.fullmatch(rule["source_matchers"][0].split(" ")[-1].strip('"'), source)
]


def alert(name: str, **labels: str) -> dict[str, Any]:
    """An alert as Prometheus sends it, with labels that differ from those of its case."""
    text = TEXTS[name]
    return {
        "labels": {"alertname": name, **text["exp_labels"], **labels},
        "annotations": {key: value for key, value in text["exp_annotations"].items() if value},
    }


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Alertmanager, Notified]]:
    tool("prometheus-alertmanager")
    with running(tmp_path) as stage:
        yield stage


def test_amtool_takes_it() -> None:
    done = subprocess.run(
        [tool("amtool"), "check-config", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_inhibits_alerts_that_there_are() -> None:
    matchers = [
        matcher
        for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    assert matchers
    for matcher in matchers:
        name, operator, value = matcher.split(" ", 2)
        assert name == "alertname"
        patterns = value.strip('"').split("|") if operator == "=~" else [value]
        for pattern in patterns:
            assert any(re.fullmatch(pattern, each) for each in NAMES), pattern


def test_a_page_says_what_a_person_needs(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    alertmanager.post(alert("FleetOnlineDropped"))
    wait_for(lambda: notified.pages() and notified.slack())
    page = notified.pages()[0]["payload"]
    summary = "eu: 120 clients went offline and are not back"
    assert (page["summary"], page["severity"]) == (summary, "critical")
    text = page["custom_details"]["firing"]
    assert text.startswith(
        f"{summary}\nSince 1970-01-01 00:30 UTC. 88% of the fleet is online now."
    )
    assert "Stands out: thing group hall-3, 118 of 200. Leading reason in the" in text
    assert "presenced has trouble of its own (PresencedRateLimit)" in text
    assert "\nFirst: Open the dashboard Fleet" in text
    assert text.endswith("Runbook: FleetOnlineDropped in docs/how-to/runbook.md\n")
    (message,) = notified.slack()
    assert (message["title"], message["color"]) == ("Critical: FleetOnlineDropped", "danger")
    assert message["text"].startswith(f"*{summary}*\nSince 1970-01-01 00:30 UTC. 88% of")
    assert "\n*First:* Open the dashboard Fleet" in message["text"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_alert_is_written_out(name: str) -> None:
    """Each text and each link is in what Slack shows."""
    tool("amtool")
    given = alert(name)
    data = {
        "receiver": "slack",
        "status": "firing",
        "alerts": [{"status": "firing", "startsAt": "2026-11-28T02:51:00Z", **given}],
        "commonLabels": given["labels"],
    }
    shown = rendered("presenced.slack.text", data)
    texts = given["annotations"]
    assert texts["action"] in shown
    assert texts["description"].strip() in shown
    assert texts["runbook_url"] in shown
    assert f"Since {texts.get('since', '2026-11-28 02:51 UTC')}." in shown


def rendered(template: str, data: dict[str, Any]) -> str:
    """The text that a template gives for a group of alerts, by amtool."""
    done = subprocess.run(
        [
            *(tool("amtool"), "template", "render"),
            f"--template.glob={CONFIG.with_name('presenced.tmpl')}",
            f'--template.text={{{{ template "{template}" . }}}}',
            "--template.data=/dev/stdin",
        ],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_group_is_one_message_that_ends(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    hostile = "<!channel> & co"
    names = [hostile, *(f"pump-{number:02}" for number in range(11))]
    for each in names:
        given = alert("PresencedDown", instance=each)
        given["annotations"]["summary"] = f"presenced on {each} does not answer"
        given["annotations"]["runbook_url"] = "https://wiki.example.org/runbook.md"
        alertmanager.post(given)
    text = notified.message("12 alerts")["text"]
    assert "presenced on &lt;!channel&gt; &amp; co does not answer" in text
    assert "<!" not in text
    assert text.count("<https://wiki.example.org/runbook.md|Runbook>") == 1
    assert text.endswith("10 of 12 alerts are shown; Alertmanager has all.")
    assert notified.pages() == []


def test_an_alert_that_ends_is_resolved(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    alertmanager.post(alert("PresencedDown"))
    wait_for(notified.slack)
    end = datetime.now(UTC)
    alertmanager.post(alert("PresencedDown") | {"endsAt": end.isoformat()})
    message = notified.message("Resolved: PresencedDown")
    assert f"until {end:%Y-%m-%d %H:%M} UTC." in message["text"]


def test_no_page_on_the_fleet_while_presenced_catches_up(
    stage: tuple[Alertmanager, Notified],
) -> None:
    alertmanager, notified = stage
    fleet = [alert(name) for name in sorted(NAMES) if name.startswith(("Fleet", "Device"))]
    for each in fleet:
        each["labels"] |= {"job": "presenced", "fleet": "eu"}
    other = alert("FleetOnlineDropped", fleet="us")
    other["annotations"]["summary"] = "us: 50 fewer clients online"
    caught_up = alert("PresencedNotCurrent", fleet="eu")
    alertmanager.post(caught_up)
    alertmanager.post(*fleet, other)
    wait_for(notified.pages, what="the page on the other fleet")
    assert notified.summaries() == ["us: 50 fewer clients online"]
    wait_for(notified.slack)
    assert [message["title"] for message in notified.slack()] == ["Critical: FleetOnlineDropped"]
    # It has caught up, and the devices are offline indeed.
    alertmanager.post(caught_up | {"endsAt": datetime.now(UTC).isoformat()})
    wait_for(lambda: len(notified.pages()) == 3, what="the pages that were held back")
    held_back = sorted(notified.summaries()[1:])
    assert held_back[0].startswith("eu: 120 clients went offline")
    assert "another 300000 clients went offline" in held_back[1]


@pytest.mark.parametrize(
    ("rule", "source"),
    INHIBITION,
    ids=[f"{source}-{k}" for k, (_, source) in enumerate(INHIBITION)],
)
def test_a_cause_inhibits_what_follows(
    stage: tuple[Alertmanager, Notified], rule: dict[str, Any], source: str
) -> None:
    alertmanager, _ = stage
    pattern = rule["target_matchers"][0].split(" ")[-1].strip('"')
    targets = [name for name in sorted(NAMES) if re.fullmatch(pattern, name)]
    place = dict.fromkeys(("job", "fleet", "instance", "connection"), "x")
    alertmanager.post(alert(source, **place), *(alert(name, **place) for name in targets))
    suppressed = dict.fromkeys(targets, "suppressed")
    wait_for(lambda: alertmanager.states().items() >= suppressed.items(), what=str(suppressed))


def test_a_thousand_alerts_are_one_text_that_slack_and_pagerduty_take(
    stage: tuple[Alertmanager, Notified],
) -> None:
    """Slack cuts a text at 3,000 characters, PagerDuty takes 512 KB in all."""
    alertmanager, notified = stage
    alerts = []
    for number in range(1000):
        given = alert("PresencedPartitionWithoutOwner", partition=f"{number:03}")
        given["annotations"]["summary"] = f"kafka: no worker has partition {number:03}"
        given["annotations"]["runbook_url"] = f"https://wiki.example.org/{'docs/' * 40}runbook.md"
        alerts.append(given)
    alertmanager.post(*alerts)
    page = notified.page("1000 alerts")["payload"]
    assert page["summary"] == "kafka: no worker has partition 000 (1000 alerts)"
    text = page["custom_details"]["firing"]
    assert page["custom_details"]["num_firing"] == "1000"
    for each in (text, notified.message("1000 alerts")["text"]):
        assert len(each) < 3000
        assert alerts[0]["annotations"]["description"].strip() in each
        assert alerts[0]["annotations"]["action"] in each
        assert "kafka: no worker has partition 009" in each
        assert "kafka: no worker has partition 010" not in each
        assert "10 of 1000 alerts are shown; Alertmanager has all." in each


def test_the_longest_texts_are_shortened(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    for number in range(12):
        given = alert("PresencedPartitionNotShown", partition=str(number))
        given["annotations"] |= {"summary": "&" * 2000, "description": "<" * 5000}
        alertmanager.post(given)
    message = notified.message("12 alerts")
    page = notified.page("12 alerts")["payload"]
    assert len(page["summary"]) <= 1024
    for each in (
        message["text"].replace("&amp;", "&").replace("&lt;", "<"),
        page["custom_details"]["firing"],
    ):
        assert len(each) < 4000
        assert "PresencedPartitionNotShown in docs/how-to/runbook.md" in each


def test_what_still_fires_comes_first(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    alerts = [alert("PresencedPartitionWithoutOwner", partition=str(k)) for k in range(12)]
    for number, each in enumerate(alerts):
        each["annotations"]["summary"] = f"no worker has partition {number}"
    alertmanager.post(*alerts)
    wait_for(lambda: notified.pages())
    now = datetime.now(UTC).isoformat()
    alertmanager.post(*(each | {"endsAt": now} for each in alerts[:11]))
    page = notified.page("resolved")
    assert page["event_action"] == "trigger"
    assert page["payload"]["summary"] == "no worker has partition 11 (1 alert, 11 resolved)"
    message = notified.message("resolved")
    assert message["title"] == ("Critical: PresencedPartitionWithoutOwner (1 alert, 11 resolved)")
    assert message["text"].startswith("*no worker has partition 11*\nSince ")


def test_a_restart_of_prometheus_does_not_change_since_when(
    stage: tuple[Alertmanager, Notified],
) -> None:
    """After it `since` is the time of the restart; Alertmanager knows the earlier one."""
    alertmanager, notified = stage
    start = datetime.now(UTC) - timedelta(hours=2)
    given = alert("PresencedPartitionWithoutOwner")
    given["annotations"]["since"] = f"{start - timedelta(minutes=3):%Y-%m-%d %H:%M} UTC"
    alertmanager.post(given | {"startsAt": start.isoformat()})
    wait_for(notified.slack)
    assert f"Since {given['annotations']['since']}." in notified.slack()[-1]["text"]
    restarted = datetime.now(UTC)
    given["annotations"] |= {"since": f"{restarted:%Y-%m-%d %H:%M} UTC", "summary": "again"}
    other = alert("PresencedPartitionWithoutOwner", partition="8")
    alertmanager.post(given | {"startsAt": restarted.isoformat()}, other)
    message = notified.message("2 alerts")
    assert f"*again*\nSince {start:%Y-%m-%d %H:%M} UTC." in message["text"]


@pytest.mark.parametrize("label", ["fleet", "namespace", "cluster"])
def test_a_fleet_does_not_inhibit_another_one(
    stage: tuple[Alertmanager, Notified], label: str
) -> None:
    """Namespaces of Kubernetes, and the Prometheus servers of several clusters."""
    alertmanager, notified = stage
    alertmanager.post(
        alert("PresencedNotCurrent", **{"job": "presenced", "fleet": "x", label: "a"}),
        alert("PresencedNotReady", **{"job": "presenced", "fleet": "x", label: "a"}),
        alert("FleetOnlineDropped", **{"job": "presenced", "fleet": "x", label: "b"}),
    )
    wait_for(lambda: len(notified.pages()) == 2)
    assert alertmanager.states()["FleetOnlineDropped"] == "active"


def test_fighting_devices_do_not_hide_a_mass_disconnect(
    stage: tuple[Alertmanager, Notified],
) -> None:
    alertmanager, notified = stage
    alertmanager.post(
        alert("FleetClientIdTakeovers", fleet="x"), alert("FleetMassDisconnect", fleet="x")
    )
    wait_for(lambda: len(notified.slack()) == 2)


def test_a_second_drop_is_sent(stage: tuple[Alertmanager, Notified]) -> None:
    alertmanager, notified = stage
    alertmanager.post(alert("FleetOnlineDropped", fleet="x"))
    wait_for(lambda: len(notified.pages()) == 1)
    alertmanager.post(alert("FleetOnlineDroppedAgain", fleet="x"))
    wait_for(lambda: len(notified.pages()) == 2)
