"""Event messages as AWS IoT Core publishes them."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class EventMessage:
    """An event message of AWS IoT Core.

    Until it has arrived, a subscriber cannot know the presence of `clients` for sure, nor of
    `things` whether they exist, their types and their groups.
    """

    topic: str
    fields: dict[str, Any]
    clients: frozenset[str] = frozenset()
    things: frozenset[str] = frozenset()

    @property
    def payload(self) -> bytes:
        """The message body: JSON, the fields in their order."""
        return json.dumps(self.fields).encode()
