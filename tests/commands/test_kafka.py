"""Commands with `source: kafka` that need no cluster."""

import sys
from pathlib import Path

import pytest

from kafka_config import write_config
from presenced.cli import main

SECTION = {"bootstrap_servers": ["127.0.0.1:1"], "security": {"protocol": "PLAINTEXT"}}


@pytest.mark.parametrize("command", [["check"], ["doctor"], ["kafka", "create-topics"]])
def test_without_the_client_of_kafka_they_say_how_to_install_it(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert main([*command, "--config", write_config(tmp_path, SECTION)]) == 2
    assert "pipx install --force '.[kafka]'" in capsys.readouterr().err


def test_a_valid_configuration(tmp_path: Path) -> None:
    assert main(["check", "--config", write_config(tmp_path, SECTION)]) == 0


def test_topics_are_only_created_with_that_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "presenced.yaml"
    file.write_text("mqtt: {endpoint: localhost}\n")
    assert main(["kafka", "create-topics", "--config", str(file)]) == 2
    assert "source = mqtt: is not kafka" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many", "1000000"])
def test_a_number_of_partitions_is_a_number(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kafka", "create-topics", "--partitions", number])
    assert ended.value.code == 2
    assert "is not a whole number" in capsys.readouterr().err


def test_a_broker_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kafka", "create-topics", "--config", write_config(tmp_path, SECTION)]) == 1
    assert "the broker at 127.0.0.1:1 refused the TCP connection" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["reload"], ["state", "show"], ["state", "forget", "pump-1"]])
def test_a_worker_has_no_state_file(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` refuses state.path with Kafka, so no command may suggest it."""
    assert main([*command, "--config", write_config(tmp_path, SECTION)]) == 1
    said = capsys.readouterr().err
    assert "with source: kafka" in said
    assert "state.path" not in said
