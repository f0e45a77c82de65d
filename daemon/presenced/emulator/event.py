"""An event message, as the embedded broker publishes it."""

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """An event message: where it is published and what it says.

    Until it has arrived nobody can be sure of the presence of `clients`, nor of `things`: whether
    they exist, and of which type and in which groups they are.
    """

    topic: str
    fields: dict[str, Any]
    clients: frozenset[str] = frozenset()
    things: frozenset[str] = frozenset()

    @property
    def payload(self) -> bytes:
        """The message body: JSON, the fields in their order."""
        return json.dumps(self.fields).encode()
