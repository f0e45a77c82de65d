"""The registry of a simulated fleet: what is created at first, and what changes while it runs.

Groups are a tree of three levels: the plants, their sites, and the halls of each site.

Pure: the time (`now`, in seconds), the randomness and which devices are online are arguments.
"""

import random
from collections.abc import Collection, Sequence
from enum import Enum, auto
from itertools import cycle
from math import ceil
from typing import NamedTuple

from presenced_emulator.devices import KINDS, client_ids, kind_name, kind_of, thing_name
from presenced_emulator.events import EventMessage
from presenced_emulator.registry import Registry

TOP_GROUP = "plants"
SITES = ("north", "south")
FEWEST_HALLS = 4
DEVICES_PER_HALL = 25
DEVICES_PER_SPARE = 10


class Change(Enum):
    """The sorts of changes, in the order in which they are made."""

    MOVE = auto()
    """A device moves to another hall."""
    REPLACE_ONLINE = auto()
    """A thing is deleted whose device is online; another device takes its place."""
    MOVE_HALL = auto()
    """A hall moves to another site."""
    RECREATE = auto()
    """A thing is deleted and one of the same name is created; the device stays."""
    NEW_MODEL = auto()
    """A thing's attribute changes."""
    REPLACE_OFFLINE = auto()
    """A thing is deleted whose device is offline; another device takes its place."""


class FleetChange(NamedTuple):
    """The messages of a change, and the devices that it adds to the fleet or removes from it."""

    messages: Sequence[EventMessage] = ()
    added: str | None = None
    removed: str | None = None


class Provisioner:
    """Provisions the things of a fleet of `devices` devices and changes them.

    `spares` are client IDs of things that never connect.
    """

    def __init__(self, registry: Registry, rng: random.Random, devices: int) -> None:
        names = client_ids(devices + max(1, devices // DEVICES_PER_SPARE))
        self.devices, self.spares = names[:devices], names[devices:]
        self._registry = registry
        self._rng = rng
        halls = max(FEWEST_HALLS, ceil(len(names) / DEVICES_PER_HALL))
        self._halls = [f"hall-{number + 1}" for number in range(halls)]
        self._last_number = len(names)
        self._installed: list[str] = []
        self._turns = cycle(Change)
        self._change = Change.MOVE
        self._deleted: str | None = None

    def create_groups(self, now: float) -> list[EventMessage]:
        """Create the thing types and the tree of groups."""
        messages = []
        for name in sorted({kind.thing_type for kind in KINDS.values()}):
            messages += self._registry.create_type(name, now, searchable=("model", "site"))
        messages += self._registry.create_group(TOP_GROUP, now, attributes={})
        for site in SITES:
            messages += self._registry.create_group(
                f"site-{site}", now, parent=TOP_GROUP, attributes={"site": site}
            )
        for number, hall in enumerate(self._halls):
            messages += self._create_hall(hall, SITES[number % len(SITES)], now)
        return messages

    def install(self, client_id: str, now: float) -> list[EventMessage]:
        """Create a device's thing, with type and attributes, and put it into a hall."""
        name, kind = thing_name(client_id), kind_of(client_id)
        hall = self._rng.choice(self._halls)
        attributes = {"site": self._site_of(hall), "model": self._rng.choice(kind.models)}
        messages = self._registry.create_thing(
            name, now, thing_type=kind.thing_type, attributes=attributes
        )
        messages += self._registry.regroup(name, now, into=hall)
        if name != client_id:
            self._registry.attach(client_id, name)
        if client_id not in self.spares:
            self._installed.append(client_id)
        return messages

    def change(self, now: float, online: Collection[str]) -> FleetChange:
        """Make the next change: every sort in turn, each to a device or hall picked at random.

        A deletion is followed by the replacement of what was deleted.
        """
        if self._deleted is not None:
            return self._replace(now)
        change = self._change = next(self._turns)
        if change is Change.MOVE_HALL:
            return FleetChange(self._move_hall(now))
        candidates = self._installed
        if change in (Change.RECREATE, Change.REPLACE_ONLINE):
            candidates = [each for each in self._installed if each in online]
        elif change is Change.REPLACE_OFFLINE:
            candidates = [each for each in self._installed if each not in online]
        if not candidates:
            return FleetChange()
        client_id = self._rng.choice(candidates)
        if change is Change.MOVE:
            return FleetChange(self._move(thing_name(client_id), now))
        if change is Change.NEW_MODEL:
            return FleetChange(self._change_model(client_id, now))
        # The device itself does not notice that its thing is deleted.
        self._installed.remove(client_id)
        self._deleted = client_id
        return FleetChange(self._registry.delete_thing(thing_name(client_id), now))

    def _replace(self, now: float) -> FleetChange:
        client_id, self._deleted = str(self._deleted), None
        if self._change is Change.RECREATE:
            return FleetChange(self.install(client_id, now))
        self._last_number += 1
        successor = f"{kind_name(client_id)}-{self._last_number:04}"
        return FleetChange(self.install(successor, now), added=successor, removed=client_id)

    def _move(self, name: str, now: float) -> list[EventMessage]:
        """Move a thing to another hall."""
        (before,) = self._registry.things[name].groups
        hall = self._rng.choice([each for each in self._halls if each != before])
        messages = self._registry.regroup(name, now, out_of=before, into=hall)
        return messages + self._update_site(name, now)

    def _move_hall(self, now: float) -> list[EventMessage]:
        """Move a hall with its things to another site.

        AWS IoT Core does not change the parent of a group ("Static thing groups"): the hall is
        deleted, and one of the same name is created at the other site and filled again.
        """
        hall = self._rng.choice(self._halls)
        before = self._site_of(hall)
        site = self._rng.choice([each for each in SITES if each != before])
        members = self._registry.members_of(hall)
        messages = self._registry.delete_group(hall, now) + self._create_hall(hall, site, now)
        for name in members:
            messages += self._registry.regroup(name, now, into=hall) + self._update_site(name, now)
        return messages

    def _change_model(self, client_id: str, now: float) -> list[EventMessage]:
        thing = self._registry.things[thing_name(client_id)]
        before = thing.attributes["model"]
        model = self._rng.choice([each for each in kind_of(client_id).models if each != before])
        return self._registry.update_thing(thing.name, now, attributes={"model": model})

    def _create_hall(self, hall: str, site: str, now: float) -> list[EventMessage]:
        return self._registry.create_group(
            hall, now, parent=f"site-{site}", attributes={"site": site}
        )

    def _update_site(self, name: str, now: float) -> list[EventMessage]:
        """Set a thing's site to that of its hall."""
        thing = self._registry.things[name]
        (hall,) = thing.groups
        site = self._site_of(hall)
        if thing.attributes["site"] == site:
            return []
        return self._registry.update_thing(name, now, attributes={"site": site})

    def _site_of(self, hall: str) -> str:
        return self._registry.groups[hall].attributes["site"]
