"""Tells second copies of messages that carry nothing to order them by."""

from collections import OrderedDict

from presenced.mqtt.message import Message

__all__ = ["Repeats"]


class Repeats:
    """Remembers the last messages, so that each counts once however often it is delivered.

    Copies are alike to the last byte; of each only a hash is kept. AWS IoT Core delivers a copy
    within minutes, so that `most` needs to be no more than the messages of that time.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: OrderedDict[int, None] = OrderedDict()

    def is_repeat(self, message: Message) -> bool:
        """Whether this message came before; it is remembered either way."""
        key = hash((message.topic, message.payload))
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return False
