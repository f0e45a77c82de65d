"""Which topics there are, by the IDs that Kafka gives them.

A topic that was deleted and created again has the name of the former one, but another ID (KIP-516).
It has none of its records, and offsets begin anew.
"""

from typing import NamedTuple


class TopicIds(NamedTuple):
    """The IDs of the four topics."""

    events: str
    state: str
    global_events: str
    global_state: str

    def differing(self, others: "TopicIds") -> set[str]:
        """Return the fields in which the IDs differ."""
        pairs = zip(self._fields, self, others, strict=True)
        return {name for name, mine, other in pairs if mine != other}

    def encode(self) -> bytes:
        """Return the value of a record."""
        return " ".join(self).encode()


def decode_topic_ids(value: bytes) -> TopicIds | None:
    """Return the IDs in the value of a record; None if `encode` has not written it."""
    parts = value.decode(errors="replace").split(" ")
    return TopicIds(*parts) if len(parts) == len(TopicIds._fields) else None
