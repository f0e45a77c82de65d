"""One batch of messages: decode, count, apply, and hand what happened to the observers.

The daemon and `replay` run the same code; only the sources of messages and time differ.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from presenced.events.decode import decode
from presenced.events.message import Message
from presenced.events.model import (
    CONNECT_FAILURE_REASONS,
    CertificateEvent,
    ConnectFailedEvent,
    Event,
    LifecycleEvent,
    RegistryEvent,
    Rejected,
    RejectionReason,
    StatusEvent,
    SubscriptionEvent,
)
from presenced.events.status import StatusDecoder, StatusTopic
from presenced.fleet import Fleet
from presenced.pipeline.batch import Answers, Batch, Observer, SnapshotRecords
from presenced.pipeline.event_counts import EventCounts
from presenced.pipeline.flapping import FlapDetector
from presenced.presence import ForgetReason
from presenced.presence.name_patterns import ClientFilter
from presenced.presence.record import Row
from presenced.registry import Outcome, ThingGroup, ThingType

_CONNECTED, _DISCONNECTED = ("presence", "connected"), ("presence", "disconnected")


class Pipeline:
    """Applies messages in the order of their arrival to `fleet`, then calls `observers` in order.

    `flapping` is the first of these. `snapshots` reads those that a worker of Kafka wrote; without
    it they are rejected. `parts` is of how many parts the fleet is one. `hold_after` arguments are
    the monotonic time after which no deadline may fire yet.
    """

    def __init__(
        self,
        fleet: Fleet,
        observers: Iterable[Observer] = (),
        snapshots: SnapshotRecords | None = None,
        status_topics: Sequence[StatusTopic] = (),
        parts: int = 1,
    ) -> None:
        self.fleet = fleet
        self.use_status_topics(status_topics)
        self._snapshots = snapshots
        self.counts = EventCounts()
        self.flapping = FlapDetector(fleet, parts)
        self.observers: list[Observer] = [self.flapping, *observers]

    def process(
        self,
        messages: Sequence[Message],
        *,
        hold_after: float = math.inf,
        limit: int = sys.maxsize,
    ) -> int:
        """Apply messages, each after the deadlines that were due when it arrived.

        Returns how many were applied: not all if `limit` deadlines have fired and more are due
        before the next message, which must then come again with those that follow it.
        """
        deadlines = self.fleet.presence.deadlines
        events: list[Event | None] = []
        published = 0
        for message in messages:
            if message.moment >= deadlines.earliest:
                limit = self._fire_before(message, hold_after, limit)
                if limit < 0:
                    break
            if message.is_snapshot:
                at = published + len(events)
                if events and not messages[at - 1].is_snapshot:
                    # What reads it observes the events before it.
                    self._publish(messages[published:at], events)
                    published, events = at, []
                self._merge_snapshot(message)
                events.append(None)
            else:
                events.append(self._apply(message))
        self._publish(messages[published : published + len(events)], events)
        return published + len(events)

    def advance(
        self,
        now: float,
        offset: float,
        *,
        hold_after: float = math.inf,
        limit: int | None = None,
    ) -> None:
        """Fire the deadlines due at the monotonic time `now`, at most `limit`.

        `offset` is what turns monotonic into wall-clock time.
        """
        until = min(now, hold_after)
        if self.fleet.presence.deadlines.earliest <= until:
            try:
                self.fleet.fire(until, offset, limit)
            finally:
                self._publish()

    def next_deadline(self, hold_after: float = math.inf) -> float | None:
        """Return when `advance` has something to do, in monotonic time; None while held."""
        deadline = self.fleet.presence.deadlines.next
        return None if deadline is None or deadline > hold_after else deadline

    def use_filter(self, client_filter: ClientFilter) -> None:
        """Leave out other clients from now on; those that have been counted stay."""
        self.fleet.use_filter(client_filter)
        self._publish()

    def use_status_topics(self, topics: Sequence[StatusTopic]) -> None:
        """Take messages of these topics for status messages from now on."""
        self._statuses = StatusDecoder(topics) if topics else None

    def use_thing_pattern(self, thing_pattern: re.Pattern[str] | None) -> None:
        """Find things in client IDs by another pattern, as `Fleet.use_thing_pattern` does."""
        self.fleet.use_thing_pattern(thing_pattern)
        self._publish()

    def recount(self) -> None:
        """Recount all clients, after those of an earlier process are restored."""
        self.fleet.recount()
        self._publish()

    def merge(
        self,
        rows: Iterable[Row],
        registry: Iterable[RegistryEvent],
        events: Mapping[str, LifecycleEvent],
        now: float,
    ) -> None:
        """Merge what AWS says; deadlines due at the monotonic time `now` must have fired.

        `rows` are of its record of who is connected, `registry` what it says of things and groups,
        with event times. `events` are the last ones that were accepted after the rows were asked
        for, by client ID.
        """
        self._merge_answers(Answers(rows, registry, events), now)
        self._publish()

    def replace_registry(self, items: Iterable[ThingGroup | ThingType]) -> None:
        """Take over groups and types, as the fleet of another partition has them."""
        for item in items:
            self._guard(partial(self.fleet.replace_registry, item))
        self._publish()

    def _merge_snapshot(self, message: Message) -> None:
        if self._snapshots is None:
            rejected = Rejected(RejectionReason.UNKNOWN_TOPIC, "a record of a snapshot")
            self.counts.reject(message, rejected)
            return
        try:
            self._merge_answers(self._snapshots.read(message), message.moment)
        except Rejected as rejected:
            self.counts.reject(message, rejected)
        except Exception:  # noqa: BLE001 - a fault of ours must not stop the batch
            self.counts.note_fault()

    def _merge_answers(self, answers: Answers, now: float) -> None:
        for change in answers.registry:
            self._guard(partial(self.fleet.apply_registry, change, 0.0))
        for row in answers.rows:
            self._guard(partial(self._merge, row, answers.events.get(row.client_id), now))

    def _merge(self, row: Row, event: LifecycleEvent | None, now: float) -> None:
        if self.fleet.client_filter.why_ignored(row.client_id) is None:
            self.fleet.merge(row, now, event)

    def _guard(self, apply: Callable[[], object]) -> None:
        try:
            apply()
        except Exception:  # noqa: BLE001 - the others must still be merged
            self.counts.note_fault()

    def give_up_lookup(self, client_id: str, now: float) -> None:
        """End a client's wait for its lookup at the monotonic time `now`."""
        self.fleet.presence.record.give_up_lookup(client_id, now)

    def forget(self, client_ids: Iterable[str], reason: ForgetReason) -> None:
        """Drop clients."""
        for client_id in client_ids:
            self.fleet.forget(client_id, reason)
        self._publish()

    def _fire_before(self, message: Message, hold_after: float, limit: int) -> int:
        """Fire what was due when a message arrived, at most `limit`.

        Returns how many more may fire, -1 if some of them are left.
        """
        offset = message.received - message.moment
        until = min(message.moment, hold_after)
        while self.fleet.presence.deadlines.earliest <= until:
            if limit <= 0:
                return 0 if self.next_deadline(until) is None else -1
            try:
                limit -= self.fleet.fire(until, offset, limit)
            except Exception:  # noqa: BLE001 - the remaining deadlines must still fire
                limit -= 1
                self.counts.note_fault()
        return limit

    def _apply(self, message: Message) -> Event | None:
        """Decode and apply one message; None if it is rejected."""
        event: Event | None = None
        try:
            if self._statuses is None:
                event = decode(message.topic, message.payload, message.received)
            else:
                event = self._decode(message, self._statuses)
            if isinstance(event, LifecycleEvent):
                self._apply_lifecycle(event, message)
            else:
                self._apply_other(event, message)
        except Rejected as rejected:
            self.counts.reject(message, rejected)
        except Exception:  # noqa: BLE001 - a fault of ours must not stop the batch
            self.counts.note_fault()
        return event

    def _decode(self, message: Message, statuses: StatusDecoder) -> Event:
        topic, payload = message.topic, message.payload
        status = statuses.decode(topic, payload, retained=message.retained)
        return decode(topic, payload, message.received) if status is None else status

    def _apply_lifecycle(self, event: LifecycleEvent, message: Message) -> None:
        counts, received = self.counts, message.received
        counts.decoded[_CONNECTED if event.connected else _DISCONNECTED] += 1
        if event.topic_disagrees:
            counts.note_disagreement(event, message)
        if not event.untimed:
            delay = received - event.timestamp / 1000
            if delay < 0 and counts.is_dated_ahead(event, message, delay, self._accuracy):
                event.timestamp, event.untimed = self._time_if_ahead(event, received), True
            counts.delays["presence"].observe(delay)
        why = self.fleet.client_filter.why_ignored(event.client_id)
        if why is None:
            self.fleet.apply(event, received, message.moment)
        else:
            counts.ignored[why] += 1

    def _time_if_ahead(self, event: LifecycleEvent, received: float) -> int:
        """Return when an event that is dated ahead counts: just now, or at its own time if earlier.

        Just now is not before the last event of its client. Otherwise every event would be stale
        after the clock was set back, and no client would go offline.
        """
        presence = self.fleet.presence
        known = presence.clients.get(event.client_id), presence.forgotten.get(event.client_id)
        last = max((each.timestamp for each in known if each is not None), default=0)
        return min(event.timestamp, max(round(received * 1000), last))

    def _apply_other(self, event: Event, message: Message) -> None:
        counts, received = self.counts, message.received
        counts.decoded[event.family, event.type] += 1
        if event.topic_disagrees:
            counts.note_disagreement(event, message)
        is_dated = event.timestamp is not None
        if event.timestamp is not None:
            delay = received - event.timestamp / 1000
            if delay < 0 and counts.is_dated_ahead(event, message, delay, self._accuracy):
                event.timestamp = None
            counts.delays[event.family].observe(delay)
        if isinstance(event, ConnectFailedEvent | SubscriptionEvent | StatusEvent):
            self._apply_client_event(event, message, is_dated=is_dated)
        elif isinstance(event, RegistryEvent):
            outcome = self.fleet.apply_registry(event, received)
            if outcome is Outcome.APPLIED:
                counts.registry_changes[event.family, event.type] += 1
            else:
                counts.ignored[outcome.value] += 1
        elif counts.is_repeat(message):
            counts.ignored["duplicate"] += 1
        elif isinstance(event, CertificateEvent):
            counts.certificates_registered += 1
        else:
            counts.tallied[event.family][event.type] += 1

    @property
    def _accuracy(self) -> int:
        return self.fleet.presence.rules.ordering.timestamp_accuracy

    def _apply_client_event(
        self,
        event: ConnectFailedEvent | SubscriptionEvent | StatusEvent,
        message: Message,
        *,
        is_dated: bool,
    ) -> None:
        received = message.received
        why = self.fleet.client_filter.why_ignored(event.client_id)
        if why is not None:
            self.counts.ignored[why] += 1
        elif isinstance(event, StatusEvent):
            self.fleet.apply_status(event, received, message.moment)
        elif isinstance(event, SubscriptionEvent):
            self.fleet.apply_subscription(event, received)
        elif is_dated and self.counts.is_repeat(message):  # undated ones may be equal
            self.counts.ignored["duplicate"] += 1
        else:
            known = event.reason in CONNECT_FAILURE_REASONS
            self.counts.connect_failures[str(event.reason) if known else "other"] += 1
            self.fleet.note_connect_failure(event, received)
            self.flapping.note_refused(event, received)

    def _publish(
        self, messages: Sequence[Message] = (), events: Sequence[Event | None] = ()
    ) -> None:
        batch = Batch(messages, events, self.fleet.take_changes())
        for observer in self.observers:
            try:
                observer.observe(batch)
            except Exception:  # noqa: BLE001 - the other observers must still see it
                self.counts.note_fault()
