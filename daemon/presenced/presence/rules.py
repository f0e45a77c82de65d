"""What decides how presence follows from events, as far as it can be set."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from presenced.presence.ordering import OrderingRules

__all__ = ["PresenceRules"]


@dataclass(frozen=True, slots=True)
class PresenceRules:
    """What decides how long a disconnect must stand. Durations are in seconds.

    `forget_offline_after` None keeps offline clients for ever.
    """

    offline_delay: float = 5.0
    offline_delay_by_reason: Mapping[str, float] = field(default_factory=dict)
    forget_offline_after: float | None = None
    ordering: OrderingRules = field(default_factory=OrderingRules)

    @property
    def longest_delay(self) -> float:
        """The longest offline delay that a disconnect of any reason has."""
        return max(self.offline_delay, *self.offline_delay_by_reason.values(), 0.0)

    def delay(self, reason: str | None) -> float:
        """The offline delay of a disconnect with this reason."""
        if reason is None:
            return self.offline_delay
        return self.offline_delay_by_reason.get(reason, self.offline_delay)
