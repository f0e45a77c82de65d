"""What docs/how-to/scale-out.md and the units show is what the daemon accepts."""

import re
from pathlib import Path

import pytest

from documentation import blocks
from presenced.settings import load_settings

PAGE = "docs/how-to/scale-out.md"
CONFIGURATIONS = [block for block in blocks(PAGE, "yaml") if block.startswith("source:")]


def test_both_sources_are_shown() -> None:
    assert [block.splitlines()[0] for block in CONFIGURATIONS] == ["source: sqs", "source: kafka"]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: block.splitlines()[0])
def test_its_configurations_are_valid(block: str, tmp_path: Path) -> None:
    file = tmp_path / "presenced.yaml"
    file.write_text(block)
    settings = load_settings(file, environ={})
    # The MQTT daemon that is stopped in a move must not count as a device.
    assert {"presenced", "presenced-*"} <= set(settings.presence.ignore_clients)


def test_the_drop_in_of_a_worker_sets_a_key_that_there_is(tmp_path: Path) -> None:
    (dropin,) = blocks(PAGE, "ini")
    found = re.findall(r"^Environment=(\w+)=%d/(\S+)$", dropin, re.MULTILINE)
    ((variable, name),) = found
    assert f"LoadCredential={name}:" in dropin
    account = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "presenced"}
    environ = {f"PRESENCED_KAFKA__SECURITY__{key.upper()}": v for key, v in account.items()}
    settings = load_settings(None, environ=environ | {variable: "/x"}, require_endpoint=False)
    assert str(settings.kafka.security.password_file) == "/x"
