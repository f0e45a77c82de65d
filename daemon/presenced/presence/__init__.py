"""Which clients are online: ordering, state machine, deadlines. Pure; the clock is an argument."""

from presenced.presence.client import Client, State
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.presence.machine import Presence
from presenced.presence.ordering import OrderingRules
from presenced.presence.rules import PresenceRules
from presenced.presence.transition import ForgetReason, Transition

__all__ = [
    "Client",
    "Distribution",
    "ForgetReason",
    "OrderingRules",
    "Presence",
    "PresenceCounts",
    "PresenceRules",
    "State",
    "Transition",
]
