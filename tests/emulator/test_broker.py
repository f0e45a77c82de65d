"""Real clients on the embedded broker, and the lifecycle events that a subscriber receives."""

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
import pytest

from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates
from presenced_emulator.clients import DeviceConnection, Server

OpenStage = Callable[[], Any]

WITNESS = "$aws/events/presence/connected/witness"


def test_clean_disconnect(stage: OpenStage, certificates: Certificates) -> None:
    pem = certificates.daemon.cert
    assert pem is not None

    async def scenario() -> None:
        async with stage() as on:
            tls = ssl.create_default_context(cafile=certificates.daemon.ca)
            tls.load_cert_chain(pem, certificates.daemon.key)
            server = on.devices._replace(tls=tls)
            link = await DeviceConnection.open(server, "sensor-1", keep_alive=30)
            connected = await on.event("sensor-1", "connected")
            assert on.connected == {"sensor-1"}
            await link.disconnect()
            disconnected = await on.event("sensor-1", "disconnected")
            assert on.connected == set()

        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.read_text())).hexdigest()
        assert connected["principalIdentifier"] == fingerprint
        assert connected["ipAddress"] == "127.0.0.1"
        for same in ("sessionIdentifier", "versionNumber", "principalIdentifier"):
            assert connected[same] == disconnected[same]
        assert disconnected["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
        assert disconnected["clientInitiatedDisconnect"] is True

    asyncio.run(scenario())


def test_vanished_client(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            link = await DeviceConnection.open(on.devices, "plant/pump-1", keep_alive=30)
            await on.event("plant/pump-1", "connected")
            link.drop()
            event = await on.event("plant/pump-1", "disconnected")
        assert event["disconnectReason"] == "CONNECTION_LOST"
        assert event["clientInitiatedDisconnect"] is False

    asyncio.run(scenario())


def test_silent_client_is_dropped(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            link = await DeviceConnection.open(on.devices, "camera-1", keep_alive=1)
            await link.fall_silent(20)
            assert link.lost
            event = await on.event("camera-1", "disconnected")
            link.drop()
        assert event["disconnectReason"] == "MQTT_KEEP_ALIVE_TIMEOUT"

    asyncio.run(scenario())


def test_pinging_client_stays(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            silent = await DeviceConnection.open(on.devices, "silent", keep_alive=1)
            pinging = await DeviceConnection.open(on.devices, "pinging", keep_alive=1)
            await silent.fall_silent(20)
            await asyncio.sleep(1)
            assert not pinging.lost
            assert on.connected == {"pinging"}
            await pinging.disconnect()
            silent.drop()

    asyncio.run(scenario())


def test_takeover(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            old = await DeviceConnection.open(on.devices, "gateway-1", keep_alive=30)
            await on.event("gateway-1", "connected")
            new = await DeviceConnection.open(on.devices, "gateway-1", keep_alive=30)
            second = await on.event("gateway-1", "connected", 2)
            ended = await on.event("gateway-1", "disconnected")
            first = on.events("gateway-1", "connected")[0]
            await on.until(lambda: old.lost)
            assert not new.lost
            assert on.connected == {"gateway-1"}
            old.drop()
            await new.disconnect()
            await on.event("gateway-1", "disconnected", 2)

        assert ended["disconnectReason"] == "DUPLICATE_CLIENTID"
        assert ended["versionNumber"] == first["versionNumber"] < second["versionNumber"]
        assert ended["sessionIdentifier"] == first["sessionIdentifier"]
        assert first["sessionIdentifier"] != second["sessionIdentifier"]

    asyncio.run(scenario())


def test_client_that_leaves_as_it_is_accepted(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            for number in range(20):
                _, writer = await asyncio.open_connection(
                    on.devices.host, on.devices.port, ssl=on.devices.tls
                )
                client_id = f"hasty-{number:02}".encode()
                writer.write(b"\x10\x14\0\4MQTT\4\2\0\x1e\0\x08" + client_id)
                writer.close()
            await on.until(lambda: len(on.broker._serving) == 1)  # the subscriber
            assert on.connected == set()

    asyncio.run(scenario())


def versions(on: Any, kind: str) -> set[int]:
    return {event["versionNumber"] for event in on.events("twin", kind)}


def open_versions(on: Any) -> set[int]:
    return versions(on, "connected") - versions(on, "disconnected")


def test_crowd_with_one_client_id_leaves_one(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            opening = (DeviceConnection.open(on.devices, "twin", keep_alive=30) for _ in range(8))
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
            links = [outcome for outcome in outcomes if isinstance(outcome, DeviceConnection)]
            await on.until(lambda: sum(not link.lost for link in links) == 1)
            assert on.connected == {"twin"}
            await on.until(lambda: not on.broker.truth().clients_in_flight)
            await on.until(lambda: open_versions(on) == {max(versions(on, "connected"))})
            for link in links:
                link.drop()

    asyncio.run(scenario())


def test_persistent_session_survives_takeover(stage: OpenStage, certificates: Certificates) -> None:
    """A resumed session is one object in amqtt, which its takeover would leave disconnected."""

    def client(on: Any) -> aiomqtt.Client:
        tls = certificates.devices
        return aiomqtt.Client(
            "localhost", on.broker.port, identifier="p", tls_context=tls, clean_session=False
        )

    async def scenario() -> None:
        async with stage() as on:
            async with client(on) as old:
                await old.subscribe(WITNESS, qos=1)
                await on.event("p", "subscribed")
                async with client(on) as new:
                    await on.event("p", "connected", 2)
                    witness = await DeviceConnection.open(on.devices, "witness", keep_alive=30)
                    async with asyncio.timeout(20):
                        message = await anext(aiter(new.messages))
                    assert str(message.topic) == WITNESS
                    await witness.disconnect()
                    ended = await on.event("p", "disconnected")
            first, second = on.events("p", "connected")
        assert ended["disconnectReason"] == "DUPLICATE_CLIENTID"
        assert first["sessionIdentifier"] == second["sessionIdentifier"]
        assert ended["versionNumber"] == first["versionNumber"] < second["versionNumber"]

    asyncio.run(scenario())


def test_subscriptions_have_events(stage: OpenStage, certificates: Certificates) -> None:
    async def scenario() -> None:
        tls = certificates.devices
        async with stage() as on:
            own = await on.event("presenced", "subscribed")
            assert own["topics"] == ["$aws/events/#"]
            async with aiomqtt.Client(
                "localhost", on.broker.port, identifier="s", tls_context=tls
            ) as client:
                await client.subscribe("a/b")
                await client.unsubscribe("a/b")
                assert (await on.event("s", "subscribed"))["topics"] == ["a/b"]
                assert (await on.event("s", "unsubscribed"))["topics"] == ["a/b"]

    asyncio.run(scenario())


def test_wildcards_in_client_id_silence_its_events(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            wild = await DeviceConnection.open(on.devices, "a+b", keep_alive=30)
            tame = await DeviceConnection.open(on.devices, "tame", keep_alive=30)
            assert on.connected == {"a+b", "tame"}
            await wild.disconnect()
            await tame.disconnect()
            await on.event("tame", "disconnected")
            assert not on.events("a+b", "connected")

    asyncio.run(scenario())


def test_client_certificate_is_required(certificates: Certificates) -> None:
    async def scenario() -> None:
        anonymous = ssl.create_default_context(cafile=certificates.daemon.ca)
        async with EmulatedBroker(certificates, seed=1) as broker:
            server = Server("localhost", broker.port, anonymous)
            with pytest.raises((OSError, EOFError)):  # which one depends on the TLS version
                await DeviceConnection.open(server, "x", keep_alive=30)
            assert not broker.truth().connected

    asyncio.run(scenario())


def test_garbage_does_not_harm(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            for garbage in (b"", b"\x00\x00", b"\x10\xff\xff\xff\xff\x01", b"\x10\x04\x00\x04MQ"):
                _, writer = await asyncio.open_connection(
                    on.devices.host, on.devices.port, ssl=on.devices.tls
                )
                writer.write(garbage)
                await writer.drain()
                writer.transport.abort()
            link = await DeviceConnection.open(on.devices, "fine", keep_alive=30)
            await on.event("fine", "connected")
            await link.disconnect()

    asyncio.run(scenario())


def test_stop_drops_clients_and_leaves_no_task(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with EmulatedBroker(certificates, seed=1) as broker:
            server = Server("localhost", broker.port, certificates.devices)
            links = [await DeviceConnection.open(server, f"d-{n}", keep_alive=30) for n in range(3)]
        async with asyncio.timeout(20):
            while not all(link.lost for link in links):
                await asyncio.sleep(0.02)
        for link in links:
            link.drop()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_what_is_retained_is_sent_to_its_subscribers_only(
    stage: OpenStage, watcher: Callable[..., aiomqtt.Client]
) -> None:
    async def scenario() -> None:
        async with stage() as on, watcher(on) as first, asyncio.timeout(20):
            await first.subscribe("devices/+/status", qos=1)
            await first.publish("devices/a/status", "online", qos=1, retain=True)
            assert (await anext(aiter(first.messages))).payload == b"online"
            async with watcher(on, "second") as second:
                await second.subscribe("other", qos=1)
                await first.publish("other", "hello", qos=1)
                assert (await anext(aiter(second.messages))).payload == b"hello"

    asyncio.run(scenario())
