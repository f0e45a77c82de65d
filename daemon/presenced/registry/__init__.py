"""What the AWS IoT registry holds: things, types, groups and how they hang together. Pure."""

from presenced.registry.inventory import Inventory
from presenced.registry.objects import Thing, ThingGroup, ThingType
from presenced.registry.ordering import Outcome

__all__ = ["Inventory", "Outcome", "Thing", "ThingGroup", "ThingType"]
