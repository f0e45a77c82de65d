import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.delivery import DeliveryModel, EventPublisher
from presenced_emulator.events import EventMessage
from presenced_emulator.lifecycle import ConnectionLedger, DisconnectReason


def event(reason: DisconnectReason) -> EventMessage:
    book = ConnectionLedger(random.Random(1))
    connection = book.open("a", principal="ab", ip_address="192.0.2.7")
    return book.disconnected(connection, reason, 0.0)


LOST = event(DisconnectReason.CONNECTION_LOST)
TAKEN_OVER = event(DisconnectReason.DUPLICATE_CLIENTID)


@given(st.integers(), st.sampled_from([LOST, TAKEN_OVER]))
def test_once_or_twice_and_soon(seed: int, message: EventMessage) -> None:
    model = DeliveryModel()
    moments = model.delays(message, random.Random(seed))
    assert len(moments) in (1, 2)
    assert all(at == 0 or model.shortest_delay <= at <= model.longest_delay for at in moments)
    assert model.longest_delay < 5  # the demo's offline delay must not pass meanwhile


def test_most_come_once_and_at_once() -> None:
    rng = random.Random(1)
    many = [DeliveryModel().delays(LOST, rng) for _ in range(2000)]
    assert 0.85 < sum(moments == (0.0,) for moments in many) / len(many) < 0.95
    assert any(len(moments) == 2 for moments in many)
    assert any(moments[0] > 0 for moments in many)


def test_disconnect_of_the_taken_over_mostly_comes_late() -> None:
    rng = random.Random(1)
    late = sum(DeliveryModel().delays(TAKEN_OVER, rng)[0] > 0 for _ in range(2000)) / 2000
    assert 0.65 < late < 0.85


def test_a_share_is_lost() -> None:
    rng, model = random.Random(1), DeliveryModel(loss_rate=0.15)
    lost = sum(model.delays(LOST, rng) == () for _ in range(4000)) / 4000
    assert 0.13 < lost < 0.17


def test_without_losses_the_delays_are_as_before() -> None:
    before, after = random.Random(1), random.Random(1)
    for _ in range(100):
        DeliveryModel().delays(LOST, before)
        DeliveryModel(loss_rate=0.0).delays(LOST, after)
    assert before.random() == after.random()


def test_a_lost_message_is_in_flight_for_a_moment() -> None:
    async def scenario() -> None:
        async def publish(topic: str, payload: bytes) -> None:
            raise AssertionError(topic)

        publisher = EventPublisher(random.Random(1), publish, DeliveryModel(loss_rate=1.0))
        running = asyncio.create_task(publisher.run())
        publisher.send(LOST)
        assert publisher.in_flight == {LOST}
        assert publisher.lost == 1
        async with asyncio.timeout(20):
            while publisher.in_flight:
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(scenario())
