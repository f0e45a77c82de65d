"""The true state of the fleet, as the broker knows it, and what presenced reports beside it.

A report is compared with the truth before and after it was taken. Clients and things with messages
in flight meanwhile may be reported either way. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families

OFFLINE_DELAY = 5.0
"""The offline delay that the daemon is configured with, in seconds."""

ATTRIBUTES = ("site", "model")
"""The attributes of things that the daemon is configured to show."""

Part = tuple[str, str]
"""A part of the fleet: `thing_type` or `thing_group`, and a name."""

_PARTS = {"iot_thing_type_clients": "thing_type", "iot_thing_group_clients": "thing_group"}


class ThingState(NamedTuple):
    """A thing's type, all its groups, and its attributes."""

    thing_type: str
    groups: frozenset[str]
    attributes: Mapping[str, str]

    @property
    def parts(self) -> set[Part]:
        """The parts of the fleet that the thing counts towards."""
        parts = {("thing_group", group) for group in self.groups}
        return parts | {("thing_type", self.thing_type)} if self.thing_type else parts

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the client's `iot_client_info`, beside its client ID."""
        shown = {name: self.attributes.get(name, "") for name in ATTRIBUTES}
        return {"thing_type": self.thing_type, **shown}


class Truth(NamedTuple):
    """The clients that are connected at one moment, the things, and the last thing of each client.

    `clients_in_flight` and `things_in_flight` are those that messages in flight are about.
    `pending` are the clients that are disconnected for less than the offline delay.
    """

    connected: frozenset[str]
    clients_in_flight: frozenset[str]
    things: Mapping[str, ThingState]
    thing_of: Mapping[str, str]
    things_in_flight: frozenset[str]
    pending: frozenset[str] = frozenset()

    def without(self, client_id: str) -> Self:
        """Return the same without one client."""
        return self._replace(
            connected=self.connected - {client_id},
            pending=self.pending - {client_id},
            clients_in_flight=self.clients_in_flight - {client_id},
        )


class Scrape(NamedTuple):
    """The state of the fleet in `/metrics`.

    `shown_online` are the clients whose own series is 1: those online or pending. `counts` are the
    clients by part of the fleet and state, `labels` those of each client's info metric.
    """

    online: int
    pending: int
    offline: int
    shown_online: frozenset[str]
    counts: Mapping[Part, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, str]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the exposition text."""
        states: Counter[str] = Counter()
        shown_online = set()
        counts: dict[Part, dict[str, int]] = defaultdict(dict)
        infos = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                if (part := _PARTS.get(sample.name)) is not None:
                    counts[part, labels[part]][labels["state"]] = int(sample.value)
                elif sample.name == "iot_clients":
                    states[labels["state"]] = int(sample.value)
                elif sample.name == "iot_client_connected" and sample.value == 1:
                    shown_online.add(labels["client_id"])
                elif sample.name == "iot_client_info":
                    infos[labels.pop("client_id")] = labels
        online, pending, offline = (states[state] for state in ("online", "pending", "offline"))
        return cls(online, pending, offline, frozenset(shown_online), counts, infos)


def presence_agrees(
    scrape: Scrape, before: Truth, after: Truth, *, pending_is_online: bool = False
) -> bool:
    """Return whether presence is reported truly.

    Client IDs count, not only numbers: two mistakes do not cancel out. With `pending_is_online`, a
    client counts as online on both sides until the offline delay is over. If events are lost, the
    daemon cannot know more: it does not ask AWS about a client before.
    """
    uncertain = before.clients_in_flight | after.clients_in_flight
    certain = (before.connected & after.connected) - uncertain
    possible = before.connected | after.connected | uncertain
    if pending_is_online:
        return certain <= scrape.shown_online <= possible | before.pending | after.pending
    return (
        len(certain) <= scrape.online <= len(possible)
        and certain <= scrape.shown_online
        and len(scrape.shown_online - possible) <= scrape.pending
    )


def breakdown_agrees(
    scrape: Scrape, before: Truth, after: Truth, *, pending_is_online: bool = False
) -> bool:
    """Return whether presence by thing type and group is reported truly.

    `pending_is_online` is as in `presence_agrees`.
    """
    online_states = ("online", "pending") if pending_is_online else ("online",)
    clients_in_flight = before.clients_in_flight | after.clients_in_flight
    uncertain = before.things_in_flight | after.things_in_flight
    unchanged = {
        name: thing
        for name, thing in after.things.items()
        if name not in uncertain and before.things.get(name) == thing
    }
    # The things of clients that are certainly connected, if nothing about the thing is uncertain.
    certain = {
        client_id: unchanged[name]
        for client_id in (before.connected & after.connected) - clients_in_flight
        if (name := after.thing_of.get(client_id, client_id)) in unchanged
    }

    def possible(
        counts: Mapping[Part, int], least: Iterable[ThingState], largest: Iterable[set[str]]
    ) -> bool:
        """Compare counts with the things that are certain, and with all that there may be.

        Each item of `largest` holds the names of one thing or client; an uncertain one may be in
        any part or in none.
        """
        low = Counter(part for thing in least for part in thing.parts)
        high: Counter[Part] = Counter()
        anywhere = 0
        for names in largest:
            if names & uncertain:
                anywhere += 1
                continue
            things = (truth.things.get(name) for name in names for truth in (before, after))
            high.update({part for thing in things if thing for part in thing.parts})
        return all(
            low[part] <= counts.get(part, 0) <= high[part] + anywhere for part in {*counts, *low}
        )

    clients = before.connected | after.connected | clients_in_flight
    if pending_is_online:
        clients |= before.pending | after.pending
    names = before.things.keys() | after.things.keys() | uncertain
    return (
        possible(
            {
                part: sum(states.get(state, 0) for state in online_states)
                for part, states in scrape.counts.items()
            },
            certain.values(),
            ({truth.thing_of.get(each, each) for truth in (before, after)} for each in clients),
        )
        and possible(
            {part: sum(states.values()) for part, states in scrape.counts.items()},
            unchanged.values(),
            ({name} for name in names),
        )
        and all(scrape.labels.get(each) == thing.labels for each, thing in certain.items())
    )


def report_line(now: datetime, scrape: Scrape, truth: Truth, *, agreed: bool) -> str:
    """Return one line that shows both sides and whether they agree."""
    return (
        f"{now:%H:%M:%S}  presenced: online {scrape.online:3}  pending {scrape.pending:2}  "
        f"offline {scrape.offline:2} | broker: connected {len(truth.connected):3}  "
        f"in flight {len(truth.clients_in_flight):2} | {'agree' if agreed else 'settling'}"
    )
