"""Messages that the broker loses, by real connections."""

import asyncio
from collections import Counter

import aiomqtt

from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates
from presenced_emulator.clients import DeviceConnection, Server
from presenced_emulator.delivery import DeliveryModel

PROMPT = DeliveryModel(late_rate=0, taken_over_late_rate=0, duplicate_rate=0)


def subscriber(broker: EmulatedBroker, certificates: Certificates, name: str) -> aiomqtt.Client:
    tls = certificates.devices
    return aiomqtt.Client("localhost", broker.port, identifier=name, tls_context=tls)


def test_every_event_can_be_lost(certificates: Certificates) -> None:
    async def scenario() -> None:
        delivery = DeliveryModel(loss_rate=1.0)
        async with EmulatedBroker(certificates, seed=1, delivery=delivery) as broker:
            seen = []
            broker.on_event(lambda message: seen.append(message.topic))
            async with subscriber(broker, certificates, "presenced") as client:
                await client.subscribe("$aws/events/#", qos=1)
                server = Server("localhost", broker.port, certificates.devices)
                link = await DeviceConnection.open(server, "a", keep_alive=30)
                await link.disconnect()
                async with asyncio.timeout(20):
                    while "$aws/events/presence/disconnected/a" not in seen:
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.2)
                assert not client.messages
            assert broker.lost == len(seen) > 3

    asyncio.run(scenario())


def test_messages_beyond_the_limit_of_a_connection_are_discarded(
    certificates: Certificates,
) -> None:
    """The limit is each connection's own, and counts what the client publishes as well."""

    async def scenario() -> None:
        async with (
            EmulatedBroker(certificates, seed=1, delivery=PROMPT, message_limit=20) as broker,
            subscriber(broker, certificates, "slow") as slow,
            subscriber(broker, certificates, "first") as first,
            subscriber(broker, certificates, "second") as second,
        ):
            received: Counter[int] = Counter()
            await slow.subscribe("numbers/#", qos=1)

            async def collect() -> None:
                async for message in slow.messages:
                    received[int(str(message.topic).partition("/")[2])] += 1

            collecting = asyncio.create_task(collect())
            await asyncio.sleep(1.1)  # the limit of all connections is whole again
            for number in range(60):
                publisher = first if number % 2 else second
                await publisher.publish(f"numbers/{number}", qos=1)
            async with asyncio.timeout(20):
                while broker.discarded + sum(received.values()) < 60:
                    await asyncio.sleep(0.02)
            assert max(received.values()) == 1
            assert broker.discarded > 0
            assert len(received) >= 20
            await asyncio.sleep(1.1)
            await first.publish("numbers/999", qos=1)
            async with asyncio.timeout(20):
                while 999 not in received:
                    await asyncio.sleep(0.02)
            collecting.cancel()
            await asyncio.wait({collecting})

    asyncio.run(scenario())
