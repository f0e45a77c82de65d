"""The registry of a simulated fleet: what is created at first, and what changes while it runs.

Groups are a tree of three levels: the plants, their sites, and the halls of each site. There is a
billing group for each site.

Pure: the time (`now`, in seconds), the randomness and which devices are online are arguments.
"""

import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import cycle
from math import ceil
from typing import NamedTuple

from presenced_emulator.devices import KINDS, client_ids, kind_name, kind_of, thing_name
from presenced_emulator.events import EventMessage
from presenced_emulator.registry import Registry

TOP_GROUP = "plants"
SITES = ("north", "south")
BILLING_GROUP = "billing"
FEWEST_HALLS = 4
DEVICES_PER_HALL = 25
DEVICES_PER_SPARE = 10


class FleetChange(NamedTuple):
    """The messages of a change, and the devices that it adds to the fleet or removes from it."""

    messages: Sequence[EventMessage] = ()
    added: str | None = None
    removed: str | None = None


class Provisioner:
    """Provisions the things of a fleet of `devices` devices of these kinds and changes them.

    `spares` are client IDs of things that never connect.
    """

    def __init__(
        self,
        registry: Registry,
        rng: random.Random,
        devices: int,
        kinds: Sequence[str] = tuple(KINDS),
    ) -> None:
        names = client_ids(devices + max(1, devices // DEVICES_PER_SPARE), kinds)
        self.devices, self.spares = names[:devices], names[devices:]
        self._registry = registry
        self._rng = rng
        halls = max(FEWEST_HALLS, ceil(len(names) / DEVICES_PER_HALL))
        self._halls = [f"hall-{number + 1}" for number in range(halls)]
        self._last_number = len(names)
        self._installed: list[str] = []
        # The device whose thing is deleted, and whether a thing of the same name follows.
        self._deleted: tuple[str, bool] | None = None
        changes: list[Callable[[float, Collection[str]], FleetChange]] = [
            self._move,
            partial(self._delete, of_online=True),
            self._move_hall,
            partial(self._delete, of_online=True, recreate=True),
            self._change_model,
            partial(self._delete, of_online=False),
        ]
        self._changes = cycle(changes)

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
        for hall, site in zip(self._halls, cycle(SITES), strict=False):
            messages += self._create_hall(hall, site, now)
        return messages

    def install(self, client_id: str, now: float) -> list[EventMessage]:
        """Create a device's thing, with type and attributes, and put it into a hall."""
        name, kind = thing_name(client_id), kind_of(client_id)
        hall = self._rng.choice(self._halls)
        attributes = {"site": self._site_of(hall), "model": self._rng.choice(kind.models)}
        messages = self._registry.create_thing(
            name,
            now,
            thing_type=kind.thing_type,
            attributes=attributes,
            billing_group=f"{BILLING_GROUP}-{attributes['site']}",
        )
        messages += self._registry.regroup(name, now, into=hall)
        if name != client_id:
            self._registry.attach(client_id, name)
        if client_id not in self.spares:
            self._installed.append(client_id)
        return messages

    def largest_hall(self) -> list[str]:
        """Return the devices of the hall that has the most of them."""
        members = (set(self._registry.members_of(hall)) for hall in self._halls)
        halls = ([each for each in self.devices if thing_name(each) in hall] for hall in members)
        return max(halls, key=len)

    def change(self, now: float, online: Collection[str]) -> FleetChange:
        """Make the next change: kinds of change take turns, the device or hall is random.

        A deletion is followed by the replacement of what was deleted.
        """
        if self._deleted is None:
            return next(self._changes)(now, online) if self._installed else FleetChange()
        (client_id, recreate), self._deleted = self._deleted, None
        if recreate:
            return FleetChange(self.install(client_id, now))
        self._last_number += 1
        successor = f"{kind_name(client_id)}-{self._last_number:04}"
        return FleetChange(self.install(successor, now), added=successor, removed=client_id)

    def _delete(
        self, now: float, online: Collection[str], *, of_online: bool, recreate: bool = False
    ) -> FleetChange:
        """Delete a device's thing, which the device itself does not notice."""
        candidates = [each for each in self._installed if (each in online) is of_online]
        if not candidates:
            return FleetChange()
        client_id = self._rng.choice(candidates)
        self._installed.remove(client_id)
        self._deleted = (client_id, recreate)
        return FleetChange(self._registry.delete_thing(thing_name(client_id), now))

    def _move(self, now: float, _: Collection[str]) -> FleetChange:
        """Move a thing to another hall."""
        name = thing_name(self._rng.choice(self._installed))
        (before,) = self._registry.things[name].groups
        hall = self._another(self._halls, before)
        messages = self._registry.regroup(name, now, out_of=before, into=hall)
        return FleetChange(messages + self._update_site(name, now))

    def _move_hall(self, now: float, _: Collection[str]) -> FleetChange:
        """Move a hall with its things to another site.

        AWS IoT Core does not change the parent of a group ("Static thing groups"): the hall is
        deleted, and one of the same name is created at the other site and filled again.
        """
        hall = self._rng.choice(self._halls)
        site = self._another(SITES, self._site_of(hall))
        members = self._registry.members_of(hall)
        messages = self._registry.delete_group(hall, now) + self._create_hall(hall, site, now)
        for name in members:
            messages += self._registry.regroup(name, now, into=hall) + self._update_site(name, now)
        return FleetChange(messages)

    def _change_model(self, now: float, _: Collection[str]) -> FleetChange:
        client_id = self._rng.choice(self._installed)
        thing = self._registry.things[thing_name(client_id)]
        model = self._another(kind_of(client_id).models, thing.attributes["model"])
        return FleetChange(
            self._registry.update_thing(thing.name, now, attributes={"model": model})
        )

    def _another(self, choices: Sequence[str], before: str) -> str:
        return self._rng.choice([each for each in choices if each != before])

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
