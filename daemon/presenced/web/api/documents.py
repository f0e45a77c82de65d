"""Clients, their events and their stories as JSON has them. Secrets are not even known here.

The fleet in numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from presenced.fleet import Fleet
from presenced.pipeline import Pipeline
from presenced.presence import Client, Transition
from presenced.presence.client import EventStamp, unpack
from presenced.system.supervision import Readiness
from presenced.web.api.history import Arrival, Confirmation, Entry, Record
from presenced.web.api.story import Story, explain, timestamp

Document = dict[str, Any]


class Documents:
    """Makes documents about the clients of a fleet.

    `pattern` is that of the classes, `attributes` are the names of those of things to be shown.
    """

    def __init__(
        self, fleet: Fleet, pattern: re.Pattern[str] | None, attributes: Sequence[str]
    ) -> None:
        self._fleet = fleet
        self._pattern = pattern
        self._attributes = tuple(attributes)

    def client(self, client: Client) -> Document:
        """A client, as a list shows it."""
        thing = self._fleet.inventory.things.live.get(client.thing)
        return {
            "client_id": client.client_id,
            "state": client.state.value,
            "since": timestamp(client.since),
            "last_transition": timestamp(client.transition),
            "reason": client.reason,
            "version": client.version,
            "session": client.session,
            "verified": not self._fleet.presence.is_unverified(client),
            "thing": thing.name if thing else None,
            "thing_type": (thing.type or None) if thing else None,
            "thing_groups": sorted(thing.groups) if thing else [],
            "classes": self._classes(client.client_id),
        }

    def story(self, story: Story) -> Document:
        """Everything about a client."""
        client, record, gap = story.client, story.record, story.gap
        doubt = {
            "since": timestamp(gap.at) if gap else None,
            "reason": gap.reason.value if gap else None,
            "connection": gap.connection if gap else None,
        }
        return self.client(client) | {
            "explanation": explain(story),
            "decided_by": _decided(client, record),
            "ignored": [_event(arrival) for arrival in record.ignored] if record else [],
            "last_events": {
                kind: _event(arrival) for kind, arrival in (record.last if record else {}).items()
            },
            "deadline": _deadline(story),
            "unverified": doubt if story.unverified else None,
            "awaited_disconnects": len(client.replaced),
            "attributes": self._shown_attributes(client),
        }

    def _classes(self, client_id: str) -> dict[str, str]:
        match = self._pattern.search(client_id) if self._pattern else None
        return {name: value or "" for name, value in match.groupdict().items()} if match else {}

    def _shown_attributes(self, client: Client) -> dict[str, str]:
        told = self._fleet.describe(client).attributes
        return {name: told.get(name) or "" for name in self._attributes if name in told}


def history_document(client_id: str, entries: Sequence[Entry], per_client: int) -> Document:
    """What is remembered of a client's events."""
    return {
        "client_id": client_id,
        "entries": [_entry(entry) for entry in entries],
        "kept_per_client": per_client,
    }


def transition_document(transition: Transition) -> Document:
    """A transition."""
    return {
        "client_id": transition.client_id,
        "state": transition.state.value,
        "previous": transition.previous.value,
        "since": timestamp(transition.since),
        "confirmed_at": timestamp(transition.time),
        "reason": transition.reason,
    }


def _entry(entry: Entry) -> Document:
    if isinstance(entry, Confirmation):
        return {
            "kind": "confirmed_offline",
            "at": timestamp(entry.time),
            "since": timestamp(entry.since),
            "reason": entry.reason,
        }
    return {"kind": "event", **_event(entry)}


def _event(arrival: Arrival) -> Document:
    late = arrival.late
    return {
        "type": arrival.type,
        "received_at": timestamp(arrival.received),
        "event_time": _event_time(arrival.timestamp),
        "late_seconds": None if late is None else round(late, 3),
        "version": arrival.version,
        "session": unpack(arrival.session),
        "reason": arrival.reason,
        "effect": arrival.effect.value,
        "against": _rival(arrival.against) if arrival.against else None,
    }


def _rival(rival: EventStamp) -> Document:
    return {
        "type": "connected" if rival.connected else "disconnected",
        "event_time": _event_time(rival.timestamp),
        "version": rival.version,
        "session": rival.session,
    }


def _decided(client: Client, record: Record | None) -> Document | None:
    """The event that a client's state follows from, also where it is remembered by the state."""
    if not client.has_event:
        return None
    decided = record.decided_for(client) if record else None
    if decided is not None:
        return _event(decided)
    return {
        "type": "connected" if client.connected else "disconnected",
        "received_at": None,
        "event_time": _event_time(client.timestamp),
        "late_seconds": None,
        "version": client.version,
        "session": client.session,
        "reason": client.reason,
        "effect": None,
        "against": None,
    }


def _deadline(story: Story) -> Document | None:
    if story.deadline is None:
        return None
    then = "forgotten" if story.client.state == "offline" else "offline"
    return {"then": then, "at": timestamp(story.deadline.at), "held": story.deadline.held}


def _event_time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else timestamp(milliseconds / 1000)


def summary_document(pipeline: Pipeline, readiness: Readiness) -> Document:
    """What has been counted; the totals are those of the metrics."""
    counts, inventory = pipeline.presence.counts, pipeline.fleet.inventory
    disconnects: dict[str, int] = {}
    for (reason, _), count in counts.disconnects.items():
        disconnects[reason] = disconnects.get(reason, 0) + count
    return {
        "ready": readiness.ready,
        "readiness": readiness.text,
        "clients": {state.value: count for state, count in counts.clients.items()},
        "unverified": counts.unverified,
        "transitions": {state.value: count for state, count in counts.transitions.items()},
        "flaps_suppressed": counts.flaps_suppressed,
        "disconnects": disconnects,
        "things": len(inventory.things.live),
        "thing_types": len(inventory.types.live),
        "thing_groups": len(inventory.groups.live),
    }
