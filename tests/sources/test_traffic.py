"""What came over a connection: counted, and when it was at the rate limit."""

import asyncio

from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connections import Connections
from presenced.sources.mqtt.traffic import Traffic


def message(kind: str, at: float = 0.0, connection: str = "presenced") -> Message:
    return Message(
        topic=f"$aws/events/presence/{kind}/a",
        payload=b"{}",
        qos=1,
        received=at,
        moment=at,
        connection=connection,
    )


def test_seconds_at_the_rate_limit() -> None:
    traffic = Traffic(max_message_rate=3)
    for moment in (0.1, 0.2, 1.0, 1.1, 1.2, 1.3, 2.0, 2.5, 3.0, 3.9, 3.99):
        traffic.count([message("connected", at=moment)])
    assert traffic.saturated_seconds == 2
    assert traffic.messages == {0: 0, 1: 11}
    assert traffic.last_message == 3.99


def test_a_batch_is_counted_by_connection_and_second() -> None:
    """As its messages would be one by one; some of a batch may be of another connection."""
    connections = Connections(Inbox(asyncio.new_event_loop(), lambda _: None))
    connections.expect(["presenced", "other"], 3)
    alone = Traffic(max_message_rate=3)
    batch = [message("connected", at=at) for at in (0.1, 0.2, 0.9, 1.0, 1.1, 2.5, 2.6, 2.7, 2.8)]
    batch[1].connection, batch[4].connection, batch[5].qos = "other", "unheard of", 0
    pipeline = Pipeline(Fleet(PresenceRules()), [connections])
    pipeline.process(batch[:5])
    pipeline.process(batch[5:])
    for each in batch:
        if each.connection == "presenced":
            alone.count([each])
    assert connections.traffic["presenced"] == alone
    assert alone.saturated_seconds == 1
    assert alone.messages == {0: 1, 1: 6}
    assert connections.traffic["other"].messages == {0: 0, 1: 1}


def test_a_connection_is_saturated_while_its_second_lasts_and_the_next() -> None:
    traffic = Traffic(max_message_rate=2)
    assert not traffic.is_saturated(0.0)
    traffic.count([message("connected", at=5.1)])
    assert not traffic.is_saturated(5.2)
    traffic.count([message("connected", at=5.3)])
    assert traffic.is_saturated(5.4)
    assert traffic.is_saturated(6.9)
    assert not traffic.is_saturated(7.0)
    traffic.count([message("connected", at=6.0)])
    assert not traffic.is_saturated(6.0), "another second, and not at the limit"


def test_without_a_limit_no_second_is_saturated() -> None:
    traffic = Traffic(max_message_rate=None)
    for _ in range(1000):
        traffic.count([Message("", b"", 0, 5.0, 5.0)])
    assert traffic.saturated_seconds == 0
    assert not traffic.is_saturated(5.0)


def test_lifecycle_events_at_qos_0_are_counted_separately() -> None:
    traffic = Traffic()
    for topic, qos in (("presence/connected/a", 0), ("presence/connected/a", 1), ("job/a/b", 0)):
        traffic.count([Message(f"$aws/events/{topic}", b"", qos, 5.0, 5.0)])
    assert traffic.lifecycle_at_qos_0 == 1
