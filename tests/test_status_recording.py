"""A recording of status messages: replayed, written again, and anonymised."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from presenced.commands.recorder.anonymize import Anonymizer
from presenced.commands.replay import Replay
from presenced.events.message import Message
from presenced.settings import Settings, load_settings
from presenced.sources.recording import parse_line, recording_line

RECORDING = Path(__file__).parent / "recordings/status.jsonl"
KEYS = "{filter: devices/+/status, client_id: '{1}', online: online, offline: offline}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "presenced.yaml"
    path.write_text(f"presence: {{status_topics: [{KEYS}]}}\n")
    return load_settings(path, require_endpoint=False)


def messages() -> list[Message]:
    lines = [parse_line(line) for line in RECORDING.read_bytes().splitlines()]
    return [line for line in lines if isinstance(line, Message)]


def replayed(settings: Settings, recorded: list[Message], shown: Any) -> list[str]:
    out = io.BytesIO()
    Replay(settings, out, shown).run(iter(recorded), settle=True)
    return out.getvalue().decode().splitlines()


def test_a_replay(settings: Settings) -> None:
    transitions = [msgspec.json.decode(t) for t in replayed(settings, messages(), "transitions")]
    assert [(t["client_id"], t["from"], t["to"], t["reason"]) for t in transitions] == [
        ("pump-2", "offline", "online", None),
        ("pump-2", "online", "offline", "STATUS_OFFLINE"),
    ]
    shown = replayed(settings, messages(), "metrics")
    for line in (
        'iot_clients{state="online"} 1.0',
        'iot_clients_adopted_total{state="offline"} 1.0',
        "iot_client_flaps_suppressed_total 1.0",
        'iot_events_total{family="status",type="offline"} 3.0',
        'iot_events_rejected_total{reason="invalid_payload"} 1.0',
    ):
        assert line in shown


def test_the_retained_flag_is_recorded() -> None:
    lines = [recording_line(message) for message in messages()]
    assert [b'"retained":true' in line for line in lines] == [True] * 2 + [False] * 5
    assert [parse_line(line) for line in lines] == messages()


def test_pseudonyms_have_the_same_effect(settings: Settings) -> None:
    anonymizer = Anonymizer(settings)
    anonymous = [anonymizer(message) for message in messages()]
    text = b"".join(map(recording_line, anonymous))
    assert b"pump" not in text
    assert b"sleeping" not in text
    names = [anonymizer.client(f"pump-{number}") for number in (1, 2, 3)]
    assert {message.topic for message in anonymous} == {f"devices/{n}/status" for n in names}
    was = [msgspec.json.decode(line) for line in replayed(settings, messages(), "transitions")]
    now = [msgspec.json.decode(line) for line in replayed(settings, anonymous, "transitions")]
    assert now == [line | {"client_id": anonymizer.client(line["client_id"])} for line in was]


def test_other_places_of_the_client_id_and_values_in_json(tmp_path: Path) -> None:
    path = tmp_path / "presenced.yaml"
    path.write_text(
        "presence: {status_topics: [{filter: '+/+/lwt', client_id: '{1}-{2}', online: up,"
        " offline: down, pointer: /a~1b/c}]}\n"
    )
    settings = load_settings(path, require_endpoint=False)
    payload = b'{"a/b": {"c": "up", "secret": 1}}'
    message = Message("site/seven/lwt", payload, 1, 1.0, 1.0)
    anonymous = Anonymizer(settings)(message)
    assert anonymous.payload == b'{"a/b":{"c":"up"}}'
    assert "site" not in anonymous.topic
    assert "seven" not in anonymous.topic
    shown = replayed(settings, [anonymous], "metrics")
    assert 'iot_clients{state="online"} 1.0' in shown


def test_pseudonyms_match_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "presenced.yaml"
    rules = "[{match: '$GEN/*', series: false}, {match: 'client-?*'}, {match: 'a?'}]"
    path.write_text(f"presence: {{clients: {rules}}}\n")
    anonymizer = Anonymizer(load_settings(path, require_endpoint=False))
    assert anonymizer.client("$GEN/7").startswith("$GEN/")
    assert anonymizer.client("$GEN/7") != anonymizer.client("$GEN/8")
    assert anonymizer.client("client-x").startswith("client-")
    assert anonymizer.client("pump").startswith("device-")
    assert anonymizer.client("a1").startswith("device-"), "as if no rule matched"
