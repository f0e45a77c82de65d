"""Commands with a configuration whose events come from a queue or from Kafka."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from certificates import Certificates
from presenced.cli import main

SQS = """\
source: sqs
sqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/presenced'}
"""
KAFKA = """\
source: kafka
kafka:
  bootstrap_servers: ['kafka-1.example.com:9093']
"""

Write = Callable[[str], str]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a configuration file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "presenced.yaml"
        path.write_text(dedent(text))
        return str(path)

    monkeypatch.delenv("PRESENCED_MQTT__ENDPOINT", raising=False)
    return write


@pytest.mark.parametrize("text", [SQS, KAFKA])
def test_check_needs_no_broker(config: Write, text: str) -> None:
    assert main(["check", "--config", config(text)]) == 0


def test_check_ignores_files_of_mqtt_that_the_source_does_not_use(config: Write) -> None:
    assert (
        main(["check", "--config", config(f"{SQS}mqtt: {{tls: {{cert: /none, key: /no}}}}")]) == 0
    )


def test_check_reads_the_files_for_a_role_alias(
    config: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    role = "aws: {role_alias: a, thing_name: t, credentials_endpoint: c.example.com}\n"
    tls = "mqtt: {tls: {cert: /none/c, key: /none/k, ca: null}}\n"
    assert main(["check", "--config", config(SQS + role + tls)]) == 2
    assert "error: mqtt.tls.cert = /none/c: no such file" in capsys.readouterr().err


def test_check_reads_the_files_of_kafka(
    config: Write, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = certificates.mismatched_key
    security = (
        f"protocol: SASL_SSL, mechanism: PLAIN, username: u, password_file: none, ca: {wrong.ca}"
    )
    text = f"{KAFKA}  security: {{{security}, cert: {wrong.cert}, key: {wrong.key}}}\n"
    assert main(["check", "--config", config(text)]) == 2
    said = capsys.readouterr().err
    assert f"kafka.security.key = {wrong.key}: does not belong to the certificate" in said
    assert "none: no such file. Put the file there, or correct kafka.security.password_file" in said
    assert "mqtt" not in said


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["simulate"], SQS),
        (["simulate"], KAFKA),
    ],
)
def test_commands_that_connect_by_mqtt_say_so(
    config: Write, capsys: pytest.CaptureFixture[str], command: list[str], text: str
) -> None:
    assert main([*command, "--config", config(text)]) == 2
    said = capsys.readouterr().err
    assert f"is not supported by `presenced {command[0]}`, which connects by MQTT only" in said


def test_a_queue_is_not_recorded(config: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "OUT", "--config", config(SQS)]) == 2
    said = capsys.readouterr().err
    assert "source = sqs: cannot be recorded: the daemon would lack each message" in said


def test_mqtt_delivers_nothing_of_the_past(
    config: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    mqtt = "mqtt: {endpoint: localhost, tls: false, transport: aiomqtt}\n"
    assert main(["record", str(out), "--start", "2h", "--config", config(mqtt)]) == 2
    assert "--start: has no effect with source: mqtt" in capsys.readouterr().err
    assert not out.exists()


def test_a_client_id_is_for_mqtt(config: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--client-id", "x", "--config", config(SQS)]) == 2
    assert "--client-id = x: has no effect with source: sqs" in capsys.readouterr().err
