"""Which clients are online: ordering, state machine, deadlines. Pure; the clock is an argument."""

from presenced.presence.client import Client, State
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.presence.machine import Presence, PresenceRules, Transition
from presenced.presence.ordering import OrderingRules

__all__ = [
    "Client",
    "Distribution",
    "OrderingRules",
    "Presence",
    "PresenceCounts",
    "PresenceRules",
    "State",
    "Transition",
]
