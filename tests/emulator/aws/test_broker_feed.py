"""What the operations say about real clients of the embedded broker."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiomqtt
import boto3
import pytest
from botocore.config import Config

from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates
from presenced_emulator.clients import DeviceConnection, Server
from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.registry import REGION

DEADLINE = 20.0
SESSION = boto3.Session(region_name=REGION)


class Stage:
    """The broker, the operations that boto3 calls, and a fleet of three things."""

    def __init__(self, broker: EmulatedBroker, aws: AwsServer, certificates: Certificates) -> None:
        self.broker, self.aws = broker, aws
        self.devices = Server("localhost", broker.port, certificates.devices)
        by = aws.issue("role")
        aws.faults.rates = dict.fromkeys(aws.faults.rates, 1000.0)

        def client(service: str) -> Any:
            return SESSION.client(
                service,
                endpoint_url=aws.http_url,
                aws_access_key_id=by.access_key_id,
                aws_secret_access_key=by.secret_access_key,
                aws_session_token=by.session_token,
                config=Config(proxies={}),
            )

        self.iot, self.data = client("iot"), client("iot-data")

    async def row(self, name: str) -> Any:
        """The thing's row in the index, None without one."""
        query = f"thingName:{name}"
        page = await asyncio.to_thread(self.iot.search_index, queryString=query)
        return next(iter(page["things"]), None)

    async def until(self, condition: Callable[[Any], bool], name: str) -> Any:
        """Wait for a row, and return it."""
        async with asyncio.timeout(DEADLINE):
            while not condition(row := await self.row(name)):
                await asyncio.sleep(0.05)
        return row


def run(certificates: Certificates, scenario: Callable[[Stage], Any], **options: Any) -> None:
    async def whole() -> None:
        async with EmulatedBroker(certificates, seed=1, **options) as broker:
            account = EmulatedAccount(broker.registry, broker.connections)
            broker.on_event(lambda message: account.on_event(message, time.time()))
            for name in ("sensor-1", "plant-pump-1", "spare"):
                for message in broker.registry.create_thing(name, time.time(), attributes={}):
                    broker.publish(message)
            broker.registry.attach("plant/pump-1", "plant-pump-1")
            async with AwsServer(account, certificates.aws, seed=1) as aws:
                await scenario(Stage(broker, aws, certificates))

    asyncio.run(whole())


@pytest.mark.parametrize("loss_rate", [0.0, 1.0])
def test_a_client_connects_and_vanishes(certificates: Certificates, loss_rate: float) -> None:
    """That events are lost does not concern the index."""

    async def scenario(on: Stage) -> None:
        assert (await on.row("sensor-1"))["connectivity"] == {"connected": False}
        begin = time.time()
        link = await DeviceConnection.open(on.devices, "sensor-1", keep_alive=30)
        row = await on.until(lambda row: row["connectivity"]["connected"], "sensor-1")
        assert begin - 0.01 <= row["connectivity"]["timestamp"] / 1000 <= time.time()
        assert row["connectivity"]["keepAliveDuration"] == 30
        assert row["connectivity"]["cleanSession"] is True
        link.drop()
        row = await on.until(lambda row: not row["connectivity"]["connected"], "sensor-1")
        assert row["connectivity"]["disconnectReason"] == "CONNECTION_LOST"
        assert (await on.row("spare"))["connectivity"] == {"connected": False}

    run(certificates, scenario, delivery=DeliveryModel(loss_rate=loss_rate))


def test_a_takeover_ends_connected(certificates: Certificates) -> None:
    async def scenario(on: Stage) -> None:
        old = await DeviceConnection.open(on.devices, "sensor-1", keep_alive=30)
        first = await on.until(lambda row: row["connectivity"]["connected"], "sensor-1")
        new = await DeviceConnection.open(on.devices, "sensor-1", keep_alive=60)
        second = await on.until(
            lambda row: row["connectivity"].get("keepAliveDuration") == 60, "sensor-1"
        )
        assert second["connectivity"]["connected"]
        assert second["connectivity"]["timestamp"] > first["connectivity"]["timestamp"]
        old.drop()
        await new.disconnect()
        row = await on.until(lambda row: not row["connectivity"]["connected"], "sensor-1")
        assert row["connectivity"]["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"

    run(certificates, scenario)


def test_a_client_with_another_name_and_its_subscriptions(certificates: Certificates) -> None:
    async def scenario(on: Stage) -> None:
        host, port, tls = on.devices
        client = aiomqtt.Client(host, port, identifier="plant/pump-1", tls_context=tls)
        async with client:
            await client.subscribe("a/#", qos=1)
            await client.subscribe("b", qos=0)
            await client.unsubscribe("b")

            def ask(operation: Callable[..., Any]) -> Any:
                return asyncio.to_thread(operation, clientId="plant/pump-1")

            async with asyncio.timeout(DEADLINE):
                while True:
                    found = (await ask(on.data.list_subscriptions))["subscriptions"]
                    if found == [{"topicFilter": "a/#", "qos": 1}]:
                        break
                    await asyncio.sleep(0.05)
            found = await ask(on.data.get_connection)
            assert found["connected"]
            assert found["thingName"] == "plant-pump-1"
            assert (await on.row("plant-pump-1"))["connectivity"] == {"connected": False}

    run(certificates, scenario)


def test_a_thing_changes_and_is_deleted(certificates: Certificates) -> None:
    async def scenario(on: Stage) -> None:
        registry, now = on.broker.registry, time.time()
        messages = registry.create_group("hall", now, attributes={})
        messages += registry.regroup("sensor-1", now, into="hall")
        messages += registry.update_thing("sensor-1", now, attributes={"site": "north"})
        for message in messages:
            on.broker.publish(message)
        row = await on.row("sensor-1")
        assert (row["thingGroupNames"], row["attributes"]) == (["hall"], {"site": "north"})
        for message in registry.delete_group("hall", now):
            on.broker.publish(message)
        assert (await on.row("sensor-1"))["thingGroupNames"] == []
        for message in registry.delete_thing("sensor-1", now):
            on.broker.publish(message)
        assert await on.row("sensor-1") is None

    run(certificates, scenario)
