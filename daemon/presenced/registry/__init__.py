"""What the AWS IoT registry holds: things, types, groups and how they relate. Pure."""

from presenced.registry.inventory import Inventory
from presenced.registry.objects import Outcome, Thing, ThingGroup, ThingType

__all__ = ["Inventory", "Outcome", "Thing", "ThingGroup", "ThingType"]
