"""Which clients somebody asks for, and in which order."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from presenced.fleet import Fleet
from presenced.presence import Client, State

__all__ = ["Key", "Order", "Selection", "Selects", "client_id_of", "selector"]

Key = str | tuple[float, str]
"""Where a client stands in an order: its client ID, or first when its state began."""

Selects = Callable[[Client], bool]

_NEVER = -1.0


class Order(StrEnum):
    """An order of clients; a minus goes from the last to the first."""

    CLIENT_ID = "client_id"
    CLIENT_ID_DESCENDING = "-client_id"
    SINCE = "since"
    SINCE_DESCENDING = "-since"

    @property
    def by_since(self) -> bool:
        """Whether it goes by when the present state began; equal ones go by client ID."""
        return self in (Order.SINCE, Order.SINCE_DESCENDING)

    @property
    def descending(self) -> bool:
        """Whether it goes from the last to the first."""
        return self.value.startswith("-")

    def key(self, client: Client) -> Key:
        """Where a client stands; one whose state has no beginning comes before all others."""
        if not self.by_since:
            return client.client_id
        return (_NEVER if client.since is None else client.since, client.client_id)


def client_id_of(key: Key) -> str:
    """The client ID in a key."""
    return key if isinstance(key, str) else key[1]


class Selection(NamedTuple):
    """What clients must have in common to be chosen; each part that is left out chooses all.

    `thing_type` and `thing_group` empty choose those that have none. `classes` are names of groups
    of `metrics.client_id_pattern`, each with the value that it must have.
    """

    states: frozenset[State] = frozenset()
    thing_type: str | None = None
    thing_group: str | None = None
    classes: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    @property
    def is_range(self) -> bool:
        """Whether it chooses all clients between two client IDs."""
        return self == Selection(prefix=self.prefix)


def selector(selection: Selection, fleet: Fleet, pattern: re.Pattern[str] | None) -> Selects:
    """A function that tells whether a client is chosen at the moment."""
    tests: list[Selects] = []
    if selection.prefix:
        tests.append(lambda client: client.client_id.startswith(selection.prefix))
    if selection.states:
        tests.append(lambda client: client.state in selection.states)
    if selection.thing_type is not None:
        tests.append(lambda client: fleet.describe(client).thing_type == selection.thing_type)
    if (group := selection.thing_group) is not None:
        tests.append(lambda client: fleet.is_in_group(client, group))
    if selection.classes:
        tests.append(lambda client: _is_of(client.client_id, selection.classes, pattern))
    if len(tests) == 1:
        return tests[0]
    return lambda client: all(test(client) for test in tests)


def _is_of(
    client_id: str, classes: tuple[tuple[str, str], ...], pattern: re.Pattern[str] | None
) -> bool:
    match = pattern.search(client_id) if pattern else None
    if match is None:
        return False
    groups = match.groupdict()
    return all((groups.get(name) or "") == value for name, value in classes)
