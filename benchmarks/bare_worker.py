"""What Kafka's client alone costs: `python -m benchmarks.bare_worker BOOTSTRAP`.

A member of the group that reads events as presenced does, writes a row for each into the state
topic without looking at it, and commits rows and positions in transactions, two a second. No worker
that keeps its state in Kafka through this library can cost less.
"""

import sys
import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.kafka_broker import EVENTS_TOPIC, GROUP, STATE_TOPIC

_ROW = b"x" * 150  # about as long as that of a client
_INTERVAL = 0.5


def main() -> None:
    """Consume and commit until ended."""
    connection = {"bootstrap.servers": sys.argv[1], "log_level": 0}
    consumer = Consumer(
        {
            **connection,
            "group.id": GROUP,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer(
        {
            **connection,
            "transactional.id": f"{GROUP}-bare",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.init_transactions()

    def on_assign(_: Consumer, places: list[TopicPartition]) -> None:
        print(f"{len(places)} partitions", flush=True)

    consumer.subscribe([EVENTS_TOPIC], on_assign=on_assign)
    while True:
        _transact(consumer, producer)


def _transact(consumer: Consumer, producer: Producer) -> None:
    positions: dict[int, int] = {}
    producer.begin_transaction()
    until = time.monotonic() + _INTERVAL
    while time.monotonic() < until:
        for record in consumer.consume(1000, 0.02):
            if record.error() is None:
                number: Any = record.partition()
                producer.produce(STATE_TOPIC, _ROW, record.key(), number)
                positions[number] = (record.offset() or 0) + 1
    places = [TopicPartition(EVENTS_TOPIC, *item) for item in positions.items()]
    if places:
        producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata())
    producer.commit_transaction()


if __name__ == "__main__":
    main()
