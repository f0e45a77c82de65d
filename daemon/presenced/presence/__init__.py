"""Which clients are online: ordering, state machine, deadlines. Pure; the clock is an argument."""

from presenced.presence.client import (
    Client,
    ClientChange,
    ClientEvent,
    Effect,
    ForgetReason,
    RecordEffect,
    State,
    Transition,
)
from presenced.presence.client_rules import ClientRule
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.presence.machine import Presence
from presenced.presence.ordering import OrderingRules, PresenceRules

__all__ = [
    "Client",
    "ClientChange",
    "ClientEvent",
    "ClientRule",
    "Distribution",
    "Effect",
    "ForgetReason",
    "OrderingRules",
    "Presence",
    "PresenceCounts",
    "PresenceRules",
    "RecordEffect",
    "State",
    "Transition",
]
