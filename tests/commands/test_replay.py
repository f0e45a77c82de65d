"""`presenced replay`: its output and exit status."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_line import run_here
from presenced_emulator.daemon import clean_environment

CONNECTED = "$aws/events/presence/connected/"
DISCONNECTED = "$aws/events/presence/disconnected/"


def line(received: float, topic: str, payload: Any) -> str:
    return json.dumps({"received": received, "topic": topic, "payload": payload}) + "\n"


def event(version: int, **fields: Any) -> dict[str, Any]:
    return {"sessionIdentifier": f"s{version}", "versionNumber": version, **fields}


RECORDING = (
    line(100.5, CONNECTED + "a", event(1, timestamp=100_500))
    + line(110, DISCONNECTED + "a", json.dumps(event(1, disconnectReason="CONNECTION_LOST")))
    + "\n"
    + line(112, CONNECTED + "b", {"base64": "eyJ2ZXJzaW9uTnVtYmVyIjogN30="})
    + line(111, DISCONNECTED + "b", event(7, sessionIdentifier=None))
    + line(113, CONNECTED + "c", {"base64": "/w=="})
)


def replay(*arguments: str, recording: str = RECORDING) -> subprocess.CompletedProcess[str]:
    return run_here("replay", *arguments, "-", given=recording)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_transitions_in_order() -> None:
    assert lines(replay()) == [
        {
            "time": 100.5,
            "since": 100.5,
            "client_id": "a",
            "from": "unknown",
            "to": "online",
            "reason": None,
        },
        {
            "time": 112,
            "since": 112,
            "client_id": "b",
            "from": "unknown",
            "to": "online",
            "reason": None,
        },
        {
            "time": 115,
            "since": 110,
            "client_id": "a",
            "from": "online",
            "to": "offline",
            "reason": "CONNECTION_LOST",
        },
        {
            "time": 117,
            "since": 112,
            "client_id": "b",
            "from": "online",
            "to": "offline",
            "reason": None,
        },
    ]


def test_without_settling_pending_clients_stay_pending() -> None:
    assert lines(replay("--no-settle", "--print", "clients")) == [
        {
            "client_id": "a",
            "state": "pending",
            "since": 110,
            "version": 1,
            "session": "s1",
            "reason": "CONNECTION_LOST",
        },
        {
            "client_id": "b",
            "state": "pending",
            "since": 112,
            "version": 7,
            "session": None,
            "reason": None,
        },
    ]


def test_clients_are_sorted() -> None:
    names = ["z", "a/b", "Z", "é"]
    recording = "".join(line(1, CONNECTED + name, {"timestamp": 5}) for name in names)
    shown = lines(replay("--print", "clients", recording=recording))
    assert [client["client_id"] for client in shown] == sorted(names)


def test_the_last_hour_is_that_of_the_recording(tmp_path: Path) -> None:
    config = tmp_path / "presenced.yaml"
    config.write_text("presence: {damping: {enabled: true}}\n")
    flaps = "".join(
        line(1000.0 + 2 * version, CONNECTED + "a", event(version))
        + line(1001.0 + 2 * version, DISCONNECTED + "a", event(version))
        for version in range(1, 6)
    )
    shown = replay("--config", str(config), "--print", "metrics", recording=flaps).stdout
    assert 'iot_client_flaps_recent{client_id="a"} 5.0' in shown
    assert 'iot_client_flapping{client_id="a"} 1.0' in shown
    later = flaps + line(9000.0, CONNECTED + "b", event(1))
    shown = replay("--config", str(config), "--print", "metrics", recording=later).stdout
    assert "iot_client_flaps_recent{" not in shown
    assert "\niot_clients_flapping 0.0" in shown


def test_metrics() -> None:
    done = replay("--print", "metrics")
    assert 'iot_clients{state="offline"} 2.0\n' in done.stdout
    assert 'iot_events_rejected_total{reason="malformed_json"} 1.0\n' in done.stdout
    assert 'iot_client_connected{client_id="a"} 0\n' in done.stdout


def test_settings_apply(tmp_path: Path) -> None:
    config = tmp_path / "presenced.yaml"
    config.write_text("presence: {offline_delay_by_reason: {CONNECTION_LOST: 1m}}\n")
    times = [shown["time"] for shown in lines(replay("--config", str(config)))]
    assert times == [100.5, 112, 117, 170]


@pytest.mark.parametrize(
    "source",
    [
        "source: kafka\nkafka: {bootstrap_servers: ['kafka-1.example.com:9093']}\n",
        "source: sqs\nsqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/presenced'}\n",
    ],
)
def test_the_events_of_a_rule_have_the_same_effect(tmp_path: Path, source: str) -> None:
    """A rule adds the topic to the payload, or wraps it; a record without a topic is rejected."""
    config = tmp_path / "presenced.yaml"
    config.write_text(source)
    topic = DISCONNECTED + "a"
    gone = {"event": event(1, disconnectReason="CONNECTION_LOST")}
    recording = (
        line(100.5, CONNECTED + "a", event(1, timestamp=100_500, topic=CONNECTED + "a"))
        + line(105, "", "no event")
        + line(110, topic, gone)
    )
    found = lines(replay("--config", str(config), recording=recording))
    assert [(each["to"], each["since"]) for each in found] == [("online", 100.5), ("offline", 110)]
    shown = replay("--config", str(config), "--print", "metrics", recording=recording).stdout
    assert 'iot_events_rejected_total{reason="unknown_topic"} 1.0' in shown
    assert 'iot_clients{state="offline"} 1.0' in shown


def test_a_file(tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    recording.write_text(RECORDING)
    done = subprocess.run(
        [sys.executable, "-m", "presenced", "replay", str(recording)],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    assert done.stdout == replay().stdout


def test_invalid_lines_are_reported_and_skipped() -> None:
    broken = RECORDING + '{"received": "soon", "topic": "t", "payload": {}}\nnonsense\n'
    done = replay(recording=broken)
    assert done.returncode == 1
    assert done.stdout == replay().stdout
    assert "-:7:" in done.stderr
    assert "-:8:" in done.stderr


@pytest.mark.parametrize(
    "bad",
    [
        '{"topic": "t", "payload": {}}',
        '{"received": 1, "payload": {}}',
        '{"received": 1, "topic": "t"}',
        '{"received": true, "topic": "t", "payload": {}}',
        '{"received": 1, "topic": "t", "payload": {"base64": "!"}}',
        '{"received": 1, "topic": "t", "payload": {"base64": "é"}}',
        '{"received": 1e306, "topic": "t", "payload": {}}',
        '{"received": -1, "topic": "t", "payload": {}}',
        "[]",
    ],
)
def test_invalid_lines(bad: str) -> None:
    done = replay(recording=bad + "\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "-:1: skipped" in done.stderr


def test_a_missing_file() -> None:
    done = run_here("replay", "/nowhere/recording")
    assert done.returncode == 1
    assert "/nowhere/recording: No such file or directory" in done.stderr


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    recording.write_text(RECORDING)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "presenced", "replay", str(recording)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environment(),
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=30)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "6 lines" in shown
    assert len(out.splitlines()) == 4, "progress does not mix with results"


def test_a_reader_that_is_gone_ends_it_quietly(tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    recording.write_text("".join(line(n, f"{CONNECTED}{n}", event(1)) for n in range(5000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "presenced", "replay", str(recording)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), errors) == (1, b"")
