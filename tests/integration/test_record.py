"""`presenced record` against a real mosquitto, beside a real daemon."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, lifecycle_events
from daemons import Daemon
from recorder_process import COMMAND, ENVIRONMENT, RecorderProcess, replayed
from waiting import wait_for

ODD = [("$aws/events/presence/connected/x", b"\xff\x00"), ("$aws/events/odd", b'{"a": [1]}')]


@pytest.fixture
def recorder_of(tmp_path: Path) -> Iterator[Callable[..., RecorderProcess]]:
    made: list[RecorderProcess] = []

    def make(daemon: Daemon, *arguments: str, out: Path | None = None) -> RecorderProcess:
        log_file = tmp_path / f"recorder-{len(made)}.log"
        out = out or tmp_path / "recording.jsonl"
        made.append(RecorderProcess(daemon.config, out, log_file, *arguments))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.mark.parametrize(
    "mqtt",
    [
        {"transport": "awscrt"},
        {"transport": "aiomqtt", "protocol": "3.1.1"},
        {"transport": "aiomqtt", "qos": 0},
    ],
    ids=["awscrt", "aiomqtt-3.1.1", "qos-0"],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_arrives_is_recorded_beside_the_daemon(
    broker_of: Any,
    daemon_of: Any,
    recorder_of: Any,
    mqtt: dict[str, Any],
    number: signal.Signals,
) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt=mqtt)
    daemon.wait_until_ready()
    recorder: RecorderProcess = recorder_of(daemon, "--max-size", "10kB")
    recorder.wait_until_subscribed()
    events = [*lifecycle_events(200), *ODD]
    broker.publish(events)
    wait_for(lambda: recorder.holds(len(events)), what="all messages in the files")
    assert recorder.stop(number) == 0

    lines = [json.loads(line) for path in recorder.files for line in path.read_bytes().splitlines()]
    assert [line["topic"] for line in lines] == [topic for topic, _ in events]
    assert lines[0]["payload"] == json.loads(events[0][1])
    assert lines[-2]["payload"] == {"base64": "/wA="}
    assert all(path.stat().st_size <= 10_000 for path in recorder.files)
    names = [path.name for path in recorder.files]
    assert names[:2] == ["recording.jsonl", "recording.jsonl.0002"]
    size = sum(path.stat().st_size for path in recorder.files)
    summary = f"Recorded {len(events):,} messages, {size:,} bytes in {len(names)} files."
    assert summary in recorder.log

    assert {client["state"] for client in replayed(recorder.files)} == {"online"}
    assert len(replayed(recorder.files)) == 200
    assert daemon.ready
    assert daemon.value("presenced_mqtt_connects_total", connection="presenced", session="new") == 1
    assert daemon.value("iot_clients", state="online") == 200, "the recorder is none of the fleet's"


def test_names_that_nobody_can_read(broker_of: Any, daemon_of: Any, recorder_of: Any) -> None:
    broker: Mosquitto = broker_of()
    recorder: RecorderProcess = recorder_of(daemon_of(broker=broker, start=False), "--anonymize")
    recorder.wait_until_subscribed()
    broker.publish([*lifecycle_events(20), ("$aws/events/thing/device-1", b"device-1 {")])
    wait_for(lambda: recorder.holds(21), what="all messages in the file")
    assert recorder.stop() == 0
    text = recorder.out.read_text()
    assert "device-" not in text
    assert "192.0.2.1" not in text
    assert "device-" not in recorder.log
    assert len(replayed(recorder.files)) == 20


def test_a_recording_ends_by_itself(broker_of: Any, daemon_of: Any, recorder_of: Any) -> None:
    recorder: RecorderProcess = recorder_of(
        daemon_of(broker=broker_of(), start=False), "--duration", "1s"
    )
    assert recorder.wait() == 0
    assert "Recorded 0 messages, 0 bytes in 1 file." in recorder.log


def test_it_goes_on_after_the_broker_was_down(
    broker_of: Any, daemon_of: Any, recorder_of: Any
) -> None:
    broker: Mosquitto = broker_of()
    recorder: RecorderProcess = recorder_of(daemon_of(broker=broker, start=False))
    recorder.wait_until_subscribed()
    broker.publish(lifecycle_events(2))
    wait_for(lambda: recorder.holds(2))
    broker.restart()
    wait_for(lambda: recorder.log.count("subscription granted") == 2, what="another subscription")
    broker.publish(lifecycle_events(3))
    wait_for(lambda: recorder.holds(5), what="what came afterwards")
    assert recorder.stop() == 0


def test_a_broker_that_is_never_there(daemon_of: Any, recorder_of: Any) -> None:
    recorder: RecorderProcess = recorder_of(daemon_of(start=False), "--duration", "2s")
    assert recorder.wait() == 1
    assert "No connection was ever accepted" in recorder.log


def test_nothing_is_overwritten(daemon_of: Any, recorder_of: Any, tmp_path: Path) -> None:
    (tmp_path / "recording.jsonl").write_text("earlier")
    recorder: RecorderProcess = recorder_of(daemon_of(start=False))
    assert recorder.wait() == 1
    assert "exists already" in recorder.log
    assert (tmp_path / "recording.jsonl").read_text() == "earlier"


def test_what_cannot_be_written_is_not_acknowledged(
    broker_of: Any, daemon_of: Any, recorder_of: Any, small_disk: Path, fill_up: Callable[[], Path]
) -> None:
    broker: Mosquitto = broker_of()
    recorder: RecorderProcess = recorder_of(
        daemon_of(broker=broker, start=False), out=small_disk / "recording.jsonl"
    )
    recorder.wait_until_subscribed()
    broker.publish(lifecycle_events(1))
    acknowledged = "Received PUBACK from presenced-record"
    wait_for(lambda: acknowledged in broker.log, what="an acknowledgement of what is written")
    ballast = fill_up()
    broker.publish([("$aws/events/large", b"x" * 100_000)] * 3)
    assert recorder.wait() == 1
    assert "No space left on device" in recorder.log
    assert broker.log.count(acknowledged) == 1
    recording = recorder.out.read_bytes()
    assert recording.count(b"\n") == 1
    assert recording.endswith(b"\n")
    ballast.unlink()


def test_a_pattern_that_anonymous_names_cannot_keep(daemon_of: Any, recorder_of: Any) -> None:
    daemon: Daemon = daemon_of(start=False, presence={"ignore_clients": ["lab-?"]})
    recorder: RecorderProcess = recorder_of(daemon, "--anonymize")
    assert recorder.wait() == 2
    assert "presence.ignore_clients = lab-?: with --anonymize it cannot" in recorder.log
    assert not recorder.out.exists()


@pytest.mark.parametrize(
    "arguments", [["--max-size", "0MB"], ["--max-size", "many"], ["--duration", "0s"], []]
)
def test_wrong_usage(arguments: list[str]) -> None:
    command = [*COMMAND, "record", *arguments, *(["out"] if arguments else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "usage: presenced record" in done.stderr
