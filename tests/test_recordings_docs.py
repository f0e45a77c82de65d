"""docs/how-to/recordings.md: every command in it runs, and does what the text says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import Mosquitto, free_port, lifecycle_events, missing, need_mosquitto
from documentation import blocks
from presenced.commands.recorded_answers import TypedAnswer, read_answers
from presenced.events.message import Message
from presenced.sources.recording import read_recording
from waiting import wait_for

PAGE = "docs/how-to/recordings.md"
RECORD, LARGE, _KAFKA, ANONYMOUS, TRIAL, COMPARISON = blocks(PAGE, "sh")
END_OF_TRIAL = "trap 'kill $(jobs -p); wait' EXIT\n"


def run(directory: Path, script: str) -> subprocess.Popen[str]:
    """The commands as a reader would type them, in a directory of their own."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")}
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        stdin=subprocess.PIPE,
        env={**clean, "PATH": tools},
        stdout=subprocess.PIPE,
        stderr=(directory / "stderr").open("w"),
        text=True,
    )


@pytest.mark.parametrize("block", [RECORD, LARGE, ANONYMOUS])
def test_recording(broker_of: Any, tmp_path: Path, block: str) -> None:
    broker: Mosquitto = broker_of()
    settings = {"endpoint": "localhost", "port": broker.port, "tls": False}
    (tmp_path / "presenced.yaml").write_text(yaml.safe_dump({"mqtt": settings}))
    process = run(tmp_path, block)
    wait_for(lambda: "Sending SUBACK to presenced-record" in broker.log)
    broker.publish(lifecycle_events(30))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (tmp_path / "stderr").read_text()
    if block is ANONYMOUS:
        assert 'iot_clients{state="online"} 30.0' in out
        assert "device-" not in (tmp_path / "anonymous.jsonl").read_text()
    else:
        assert out.count('"online"') == 30
    assert len(list(tmp_path.glob("large.jsonl*"))) == (3 if block is LARGE else 0)


def test_trying_out_alerts(tmp_path: Path) -> None:
    need_mosquitto()
    if shutil.which("curl") is None:
        missing("curl is not installed: apt-get install curl")
    trial, comparison = END_OF_TRIAL + TRIAL + "read -r _\n", COMPARISON
    for port in ("1883", "9885"):
        assert port in trial
        free = str(free_port())
        trial, comparison = trial.replace(port, free), comparison.replace(port, free)
    wait, comparison = comparison.split("\n", 1)
    assert wait == "sleep 6", "more than the offline delay: here it is waited for"

    def agreed() -> bool:
        out, _ = run(tmp_path, comparison).communicate(timeout=30)
        shown, true = map(int, out.split())
        return shown == true and 0 < true <= 100

    process = run(tmp_path, trial)
    assert process.stdout is not None
    try:
        wait_for(lambda: "online: " in process.stdout.readline(), timeout=60, what="the truth")
        wait_for(agreed, what="the truth in the daemon")
    finally:
        process.communicate("\n", timeout=30)
    assert process.returncode == 0, (tmp_path / "stderr").read_text()


def test_the_samples_are_what_they_show() -> None:
    line, answer = blocks("docs/reference/command-line.md", "json")
    (truth,) = blocks(PAGE, "json")
    assert [type(each) for each in read_recording([line.encode()], print)] == [Message]
    problems: list[int] = []

    def skip(number: int, _: str) -> None:
        problems.append(number)

    (typed,) = read_answers(read_recording([answer.encode()], skip), skip)
    assert isinstance(typed, TypedAnswer)
    assert problems == []
    assert list(json.loads(truth)) == [
        "client_id",
        "state",
        "since",
        "version",
        "session",
        "reason",
    ]
