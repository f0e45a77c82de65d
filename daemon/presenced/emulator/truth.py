"""What is true about the fleet, as the broker knows it."""

from dataclasses import dataclass
from typing import Self

__all__ = ["Truth"]


@dataclass(frozen=True, slots=True)
class Truth:
    """Who is connected at one moment, and of whom events are still under way."""

    connected: frozenset[str]
    in_flight: frozenset[str]

    def without(self, client_id: str) -> Self:
        """The same, leaving one client out of account."""
        return type(self)(self.connected - {client_id}, self.in_flight - {client_id})
