"""What happens to the registry of the demo's fleet: installed, moved, refitted and replaced.

Pure: the moment (`now`, in seconds), the randomness and who is connected are arguments.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from presenced_emulator import devices as plants
from presenced_emulator.devices import client_ids
from presenced_emulator.events import Event
from presenced_emulator.registry import Registry


@dataclass(frozen=True, slots=True)
class Change:
    """What a change tells, and which devices begin and cease to run with it."""

    events: list[Event] = field(default_factory=list)
    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


class Upkeep:
    """Keeps the registry of a fleet of that many devices.

    `devices` are those that connect, `spares` those that never do.
    """

    def __init__(self, registry: Registry, rng: random.Random, devices: int) -> None:
        names = client_ids(devices + plants.spares(devices))
        self.devices, self.spares = names[:devices], names[devices:]
        self._registry = registry
        self._rng = rng
        self._halls = plants.halls(len(names))
        self._number = len(names)
        self._running: list[str] = []
        self._owed: Callable[[float], Change] | None = None
        self._changes = 0

    def found(self, now: float) -> list[Event]:
        """Create the types and the tree of groups."""
        events = []
        for kind in sorted(set(plants.TYPES.values())):
            events += self._registry.create_type(kind, now, searchable=("model", "site"))
        events += self._registry.create_group(plants.TOP, now, attributes={})
        for site in plants.SITES:
            events += self._registry.create_group(
                plants.site_group(site), now, parent=plants.TOP, attributes={"site": site}
            )
        for number, hall in enumerate(self._halls):
            events += self._open_hall(hall, plants.SITES[number % len(plants.SITES)], now)
        return events

    def install(self, client_id: str, now: float) -> list[Event]:
        """Create a device's thing, with type and attributes, and put it into a hall."""
        name, kind = plants.thing(client_id), plants.kind_of(client_id)
        hall = self._rng.choice(self._halls)
        attributes = {"site": self._site_of(hall), "model": self._rng.choice(plants.MODELS[kind])}
        events = self._registry.create_thing(
            name, now, kind=plants.TYPES[kind], attributes=attributes
        )
        events += self._registry.regroup(name, now, into=hall)
        if name != client_id:
            self._registry.attach(client_id, name)
        if client_id not in self.spares:
            self._running.append(client_id)
        return events

    def change(self, now: float, connected: Collection[str]) -> Change:
        """Make the next change: all sorts of them in turn, each to what chance picks.

        What was deleted is replaced by the change that comes next.
        """
        if self._owed:
            replace, self._owed = self._owed, None
            return replace(now)
        online = [each for each in self._running if each in connected]
        offline = [each for each in self._running if each not in connected]
        sorts: tuple[Callable[[], Change], ...] = (
            lambda: self._move(self._running, now),
            lambda: self._delete(online, now, replacement=self._successor),
            lambda: self._move_hall(now),
            lambda: self._delete(online, now, replacement=self._same),
            lambda: self._refit(self._running, now),
            lambda: self._delete(offline, now, replacement=self._successor),
        )
        sort = sorts[self._changes % len(sorts)]
        self._changes += 1
        return sort()

    def _move(self, candidates: list[str], now: float) -> Change:
        """Move a device to another hall."""
        if not candidates:
            return Change()
        name = plants.thing(self._rng.choice(candidates))
        (before,) = self._registry.things[name].groups
        hall = self._rng.choice([each for each in self._halls if each != before])
        events = self._registry.regroup(name, now, out_of=before, into=hall)
        return Change(events + self._relocate(name, now))

    def _move_hall(self, now: float) -> Change:
        """Move a hall with all that is in it to another site.

        AWS IoT Core gives no group another parent ("Static thing groups"): the hall is deleted, and
        one of its name is made at the other site and filled anew.
        """
        hall = self._rng.choice(self._halls)
        before = self._site_of(hall)
        site = self._rng.choice([each for each in plants.SITES if each != before])
        members = self._registry.members_of(hall)
        events = self._registry.delete_group(hall, now) + self._open_hall(hall, site, now)
        for name in members:
            events += self._registry.regroup(name, now, into=hall) + self._relocate(name, now)
        return Change(events)

    def _refit(self, candidates: list[str], now: float) -> Change:
        """Give a device another model."""
        if not candidates:
            return Change()
        client_id = self._rng.choice(candidates)
        thing = self._registry.things[plants.thing(client_id)]
        models = plants.MODELS[plants.kind_of(client_id)]
        model = self._rng.choice([each for each in models if each != thing.attributes["model"]])
        return Change(self._registry.update_thing(thing.name, now, attributes={"model": model}))

    def _delete(
        self, candidates: list[str], now: float, *, replacement: Callable[[str, float], Change]
    ) -> Change:
        """Delete the thing of a device, which does not notice, and owe its replacement."""
        if not candidates:
            return Change()
        client_id = self._rng.choice(candidates)
        self._running.remove(client_id)
        self._owed = lambda later: replacement(client_id, later)
        return Change(self._registry.delete_thing(plants.thing(client_id), now))

    def _same(self, client_id: str, now: float) -> Change:
        """Create a thing of the same name; the device goes on."""
        return Change(self.install(client_id, now))

    def _successor(self, client_id: str, now: float) -> Change:
        """Take the device away and bring another one of its kind."""
        self._number += 1
        successor = f"{plants.kind_of(client_id)}-{self._number:04}"
        return Change(self.install(successor, now), start=(successor,), stop=(client_id,))

    def _open_hall(self, hall: str, site: str, now: float) -> list[Event]:
        parent = plants.site_group(site)
        return self._registry.create_group(hall, now, parent=parent, attributes={"site": site})

    def _relocate(self, name: str, now: float) -> list[Event]:
        """Let a thing's site be that of its hall."""
        thing = self._registry.things[name]
        (hall,) = thing.groups
        site = self._site_of(hall)
        if thing.attributes["site"] == site:
            return []
        return self._registry.update_thing(name, now, attributes={"site": site})

    def _site_of(self, hall: str) -> str:
        return self._registry.groups[hall].attributes["site"]
