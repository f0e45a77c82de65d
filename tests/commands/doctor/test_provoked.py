"""The doctor on a broker that publishes events of connects, as AWS does, and on one that drops."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from presenced.commands.doctor.command import examine
from presenced.commands.doctor.report import Finding, Status
from presenced.settings import load_settings
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import issue
from presenced_emulator.daemon import configuration
from scripted_broker import CONNECT, SUBSCRIBE, scripted_broker

TRANSPORTS = ["awscrt", "aiomqtt"]

both = pytest.mark.parametrize("transport", TRANSPORTS)


async def findings(settings: Any) -> dict[str, Any]:
    report = await examine(settings, message_timeout=20.0)
    [steps] = report.connections.values()
    return dict(steps)


def plaintext(transport: str, port: int) -> Any:
    mqtt = {"transport": transport, "endpoint": "localhost", "port": port, "tls": False}
    return load_settings(None, environ={}, overrides={f"mqtt.{k}": v for k, v in mqtt.items()})


def test_a_connect_of_the_doctor_provokes_the_first_message(tmp_path: Path) -> None:
    certificates = issue(tmp_path)
    topic = "$aws/events/presence/connected/presenced-doctor-probe"

    async def scenario() -> dict[str, Any]:
        async with EmulatedBroker(certificates, seed=1) as broker:
            file = tmp_path / "presenced.yaml"
            file.write_text(configuration(certificates, port=broker.port, listen=":9883"))
            overrides = {"mqtt.client_id": "presenced-doctor", "mqtt.connections": [[topic]]}
            return await findings(load_settings(file, environ={}, overrides=overrides))

    assert asyncio.run(scenario())["first message"] == Finding(Status.OK, f"{topic}, QoS 1")


@both
def test_a_drop_instead_of_a_suback_is_explained(transport: str) -> None:
    async def script(peer: Any) -> None:
        await peer.expect(CONNECT)
        peer.connack()
        await peer.expect(SUBSCRIBE)

    async def scenario() -> dict[str, Any]:
        async with scripted_broker(script) as port:
            return await findings(plaintext(transport, port))

    finding = asyncio.run(scenario())["SUBACK $aws/events/#"]
    assert finding.status is Status.FAILED
    assert "instead of answering SUBSCRIBE" in finding.detail
    assert '"iot:Subscribe"' in finding.remedy


@both
def test_a_drop_after_the_suback_is_reported(transport: str) -> None:
    async def script(peer: Any) -> None:
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        peer.disconnect(142)

    async def scenario() -> dict[str, Any]:
        async with scripted_broker(script) as port:
            return await findings(plaintext(transport, port))

    found = asyncio.run(scenario())
    assert found["SUBACK $aws/events/#"].status is Status.OK
    assert found["first message"].status is Status.FAILED
    assert "session taken over" in found["first message"].detail


@both
def test_a_missing_suback_is_reported(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.commands.doctor.mqtt_steps.ANSWER_TIMEOUT", 0.5)

    async def script(peer: Any) -> None:
        await peer.expect(CONNECT)
        peer.connack()
        await peer.until_closed()

    async def scenario() -> dict[str, Any]:
        async with scripted_broker(script) as port:
            return await findings(plaintext(transport, port))

    finding = asyncio.run(scenario())["SUBACK $aws/events/#"]
    assert finding.status is Status.FAILED
    assert "did not answer the SUBSCRIBE to $aws/events/#" in finding.detail
