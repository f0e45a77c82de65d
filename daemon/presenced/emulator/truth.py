"""What is true about the fleet, as the broker knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

__all__ = ["Roll", "Standing", "Truth"]


class Standing(NamedTuple):
    """What a thing counts towards: its type and all its groups; and its attributes."""

    thing_type: str
    groups: frozenset[str]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Roll:
    """The things of the registry at one moment, and which thing each client was last.

    `in_flight` are things of which events are still under way.
    """

    things: Mapping[str, Standing] = field(default_factory=dict)
    thing_of: Mapping[str, str] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Truth:
    """Who is connected at one moment, and of whom events are still under way."""

    connected: frozenset[str]
    in_flight: frozenset[str]
    roll: Roll = field(default_factory=Roll)

    def without(self, client_id: str) -> Self:
        """The same, leaving one client out of account."""
        return replace(
            self,
            connected=self.connected - {client_id},
            in_flight=self.in_flight - {client_id},
        )
