"""The registry of the emulator, with the calls that neither `demo` nor `simulate` makes."""

from collections.abc import Mapping

from presenced_emulator.events import EventMessage
from presenced_emulator.registry import Registry

__all__ = ["FullRegistry"]


class FullRegistry(Registry):
    """Deprecates and deletes types, updates groups, and changes the types of things."""

    def deprecate_type(self, name: str, now: float, *, undo: bool = False) -> list[EventMessage]:
        """DeprecateThingType, or with `undo` the call of the same name that reverts it."""
        thing_type, at = self.types[name], self._at(now)
        thing_type.deprecated_at = None if undo else at
        return [self._type_event("updated", thing_type, at)]

    def delete_type(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThingType."""
        return [self._type_event("deleted", self.types.pop(name), self._at(now))]

    def update_group(
        self, name: str, now: float, *, attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """UpdateThingGroup: AWS IoT Core does not move groups ("Static thing groups")."""
        group = self.groups[name]
        group.attributes |= attributes
        group.version += 1
        return [self._group_event("updated", group, self._at(now))]

    def update_type(self, name: str, now: float, thing_type: str) -> list[EventMessage]:
        """UpdateThing with another type, or none."""
        thing = self.things[name]
        before, thing.thing_type = thing.thing_type, thing_type
        messages = self.update_thing(name, now, attributes={})
        for verb, each in (("removed", before), ("added", thing_type)):
            if each:
                messages.append(self._association_event(verb, thing, each, self._last))
        return messages
