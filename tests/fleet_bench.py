"""A fleet that tests drive event by event: presence and the registry, on a clock of their own."""

import re
from typing import Any

from histories import lifecycle
from presenced.events.model import RegistryEvent, SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import PresenceRules, State
from presenced.presence.name_patterns import ClientFilter
from recorders import ChangeRecorder

DELAY = 5.0


class Bench:
    """A fleet with a clock; registry and lifecycle events are stamped by it."""

    def __init__(self, thing_pattern: str | None = None, **filters: Any) -> None:
        self.now = 1000.0
        self.recorder = ChangeRecorder()
        self.described, self.forgotten = self.recorder.described, self.recorder.forgotten
        self.counted = self.recorder.counted
        rules = PresenceRules(offline_delay=DELAY, forget_offline_after=86400.0)
        pattern = None if thing_pattern is None else re.compile(thing_pattern)
        self.fleet = Fleet(rules, ClientFilter(**filters), pattern)
        self.versions: dict[str, int] = {}

    @property
    def transitions(self) -> list[tuple[str, State]]:
        return [(t.client_id, t.state) for t in self.recorder.transitions]

    def record(self) -> None:
        self.recorder.add(self.fleet.take_changes().clients)

    @property
    def states(self) -> dict[str, str]:
        return {c.client_id: c.state.value for c in self.fleet.presence.clients.values()}

    @property
    def things(self) -> dict[str, int]:
        """How many things are in each state."""
        return {state.value: n for state, n in self.fleet.thing_counts.states.items() if n}

    @property
    def by_type(self) -> dict[tuple[str, str], int]:
        types = self.fleet.inventory.types.live
        return {key: n for key, n in self.fleet.thing_counts.types.samples(types) if n}

    @property
    def by_group(self) -> dict[tuple[str, str], int]:
        groups = self.fleet.inventory.groups.live
        return {key: n for key, n in self.fleet.thing_counts.groups.samples(groups) if n}

    def learn(self, *events: RegistryEvent) -> None:
        for event in events:
            self.fleet.apply_registry(event, self.now)
        self.record()

    def lifecycle(self, client_id: str, *, connected: bool, thing_name: str | None = None) -> None:
        version = self.versions.get(client_id, 0) + connected
        self.versions[client_id] = version
        event = lifecycle(
            connected=connected,
            timestamp=round(self.now * 1000),
            version=version,
            session=f"s{version}",
            client_id=client_id,
        )
        event.thing_name = thing_name
        self.fleet.apply(event, self.now, self.now)
        self.record()

    def connect(self, client_id: str, thing_name: str | None = None) -> None:
        self.lifecycle(client_id, connected=True, thing_name=thing_name)

    def disconnect(self, client_id: str) -> None:
        self.lifecycle(client_id, connected=False)

    def forget(self, client_id: str) -> None:
        self.fleet.forget(client_id, "requested")
        self.record()

    def use_pattern(self, thing_pattern: str | None) -> None:
        self.fleet.use_thing_pattern(None if thing_pattern is None else re.compile(thing_pattern))
        self.record()

    def subscribe(self, client_id: str, kind: str = "subscribed", **fields: Any) -> None:
        event = SubscriptionEvent(type=kind, client_id=client_id, timestamp=None, **fields)
        self.fleet.apply_subscription(event, self.now)
        self.record()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.fleet.fire(self.now, 0.0)
        self.record()
