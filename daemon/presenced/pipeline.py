"""The walk from messages to presence: decode, count, apply.

The daemon and `replay` run the same code; only where messages and time come from differs.

Tells second copies of messages that carry nothing to order them by.
"""

import fnmatch
import math
import re
import sys
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from presenced.events import (
    EVENT_TYPES,
    CertificateEvent,
    ConnectFailedEvent,
    Event,
    LifecycleEvent,
    RegistryEvent,
    Rejected,
    RejectionReason,
    SubscriptionEvent,
    decode,
)
from presenced.events.message import Message
from presenced.events.model import CONNECT_FAILURE_REASONS, REGISTRY_FAMILIES, TALLIED_FAMILIES
from presenced.fleet import Fleet
from presenced.presence import Distribution, Presence, State
from presenced.presence.ordering import Ordering
from presenced.registry import Outcome
from presenced.system.log import ThrottledLogger, get_logger


class Repeats:
    """Remembers the last messages, so that each counts once however often it is delivered.

    Copies are alike to the last byte; of each only a hash is kept. AWS IoT Core delivers a copy
    within minutes, so that `most` needs to be no more than the messages of that time.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: OrderedDict[int, None] = OrderedDict()

    def is_repeat(self, message: Message) -> bool:
        """Whether this message came before; it is remembered either way."""
        key = hash((message.topic, message.payload))
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return False


_LIFECYCLE = "$aws/events/presence/"
_connection_of, _qos_of = attrgetter("connection"), attrgetter("qos")


def _is_lifecycle_at_qos_0(message: Message) -> bool:
    return message.qos == 0 and message.topic.startswith(_LIFECYCLE)


ClientEvent = LifecycleEvent | ConnectFailedEvent | SubscriptionEvent
Witness = Callable[[ClientEvent, float, State, Ordering | None], None]

_SHOWN_OF_TOPIC = 256  # AWS allows no longer ones

_BEGINNING = re.compile(r"[^*?[]*\*", re.DOTALL)

_DELAY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)


class EventCounts:
    """What the pipeline has counted: every message once, decoded or rejected."""

    def __init__(self) -> None:
        self.decoded = _by_type(EVENT_TYPES)
        self.rejected = dict.fromkeys(RejectionReason, 0)
        self.ignored = {
            "duplicate": 0,
            "stale": 0,
            "own_client": 0,
            "ignored_client": 0,
            "excess": 0,
        }
        self.registry_changes = _by_type(REGISTRY_FAMILIES)
        self.tallied = {
            family: dict.fromkeys(EVENT_TYPES[family], 0) for family in TALLIED_FAMILIES
        }
        self.certificates_registered = 0
        self.topic_disagreements = 0
        self.faults = 0
        self.connect_failures: Counter[str] = Counter()
        self.delays = {family: Distribution(_DELAY_BUCKETS) for family in EVENT_TYPES}


def _by_type(families: Iterable[str]) -> dict[tuple[str, str], int]:
    return {(family, each): 0 for family in families for each in EVENT_TYPES[family]}


@dataclass(slots=True)
class Traffic:
    """What came over one MQTT connection. A `max_message_rate` of None is no limit.

    `lifecycle_at_qos_0` is how many batches had a lifecycle event of QoS 0 in them.
    """

    max_message_rate: int | None = 100
    messages: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    last_message: float | None = None
    saturated_seconds: int = 0
    lifecycle_at_qos_0: int = 0
    _second: int = -1
    _in_second: int = 0

    def count(self, *messages: Message) -> None:
        """Count messages in the order of their arrival, at least one.

        The one that fills its second makes that second a saturated one.
        """
        by_qos = Counter(map(_qos_of, messages))
        for qos, many in by_qos.items():
            self.messages[qos] = self.messages.get(qos, 0) + many
        if 0 in by_qos and any(map(_is_lifecycle_at_qos_0, messages)):
            self.lifecycle_at_qos_0 += 1
        last = messages[-1]
        self.last_message = last.received
        if int(messages[0].moment) == int(last.moment):
            self._count_in(int(last.moment), len(messages))
        else:
            for message in messages:
                self._count_in(int(message.moment), 1)

    def _count_in(self, second: int, many: int) -> None:
        if second != self._second:
            self._second, self._in_second = second, 0
        before, limit = self._in_second, self.max_message_rate
        self._in_second += many
        if limit is not None and before < limit <= self._in_second:
            self.saturated_seconds += 1

    def is_saturated(self, now: float) -> bool:
        """Whether the present second, or the one before, has reached the limit."""
        limit = self.max_message_rate
        return limit is not None and self._in_second >= limit and now - self._second < 2


class ClientFilter:
    """Tells which clients are left out of presence: the daemon's own, and those of patterns.

    Patterns are shell-style, as in `fnmatch`, and tell upper from lower case.
    """

    def __init__(self, own: Collection[str] = (), patterns: Sequence[str] = ()) -> None:
        self._own = frozenset(own)
        # Most patterns are a beginning and "*", for which no regular expression is needed.
        self._beginnings = tuple(p[:-1] for p in patterns if _BEGINNING.fullmatch(p))
        others = [pattern for pattern in patterns if not _BEGINNING.fullmatch(pattern)]
        self._matches = (
            re.compile("|".join(fnmatch.translate(pattern) for pattern in others)).match
            if others
            else None
        )

    def why_ignored(self, client_id: str) -> str | None:
        """`own_client`, `ignored_client`, or None for a client of the fleet."""
        if client_id in self._own:
            return "own_client"
        if client_id.startswith(self._beginnings):
            return "ignored_client"
        if self._matches is not None and self._matches(client_id):
            return "ignored_client"
        return None


class Pipeline:
    """Takes batches of messages in the order of their arrival and keeps `fleet` up to date.

    The rules of presence may be replaced between batches, and the filter by `use_filter`. No
    deadline after the monotonic time `held_at` fires. `heard`, where there is one, is told each
    message, with None where it is no event. `witness` is told each event of a client of the fleet
    once it is applied: when it was received, the state that events had told before, and how the
    event stood to what was known, None for one that is not set in order.
    """

    def __init__(self, fleet: Fleet, client_filter: ClientFilter) -> None:
        self.fleet = fleet
        self.counts = EventCounts()
        self.traffic: dict[str, Traffic] = {}
        self.held_at = math.inf
        self.heard: Callable[[Message, Event | None], None] | None = None
        self.witness: Witness | None = None
        self._client_filter = client_filter
        self._repeats = Repeats()
        fleet.admits = self._admits
        self._log = ThrottledLogger(get_logger("presenced.pipeline"))

    @property
    def presence(self) -> Presence:
        """The presence of the fleet's clients."""
        return self.fleet.presence

    def use_filter(self, client_filter: ClientFilter) -> None:
        """Leave out other clients from now on; those that have been counted stay."""
        self._client_filter = client_filter
        self.fleet.reconsider()

    def _admits(self, client_id: str) -> bool:
        return self._client_filter.why_ignored(client_id) is None

    def process(  # noqa: C901 - see within
        self, batch: Iterable[Message], most: int = sys.maxsize
    ) -> int:
        """Apply messages, each after the deadlines that were due when it arrived.

        Returns how many were applied. Those are not all where `most` deadlines have fired and more
        are due before the next message: it is to be brought again, with those that follow. What
        came over connections is counted of sequences; a recording has none.
        """
        applied = 0
        deadlines, heard, witness = self.presence.deadlines, self.heard, self.witness
        apply_event, why_ignored = self.fleet.apply, self._client_filter.why_ignored
        delays, ignored = self.counts.delays["presence"], self.counts.ignored
        bounds, buckets = delays.bounds, delays.buckets
        connects = disconnects = 0
        delayed = 0.0
        for message in batch:
            moment, received = message.moment, message.received
            if moment >= deadlines.earliest:
                most = self._fire_before(message, most)
                if most < 0:
                    break
            applied += 1
            # The ordinary way of a lifecycle event is written out here: calls cost a microsecond.
            try:
                event = decode(message.topic, message.payload, received)
                if isinstance(event, LifecycleEvent):
                    if event.connected:
                        connects += 1
                    else:
                        disconnects += 1
                    if event.topic_disagrees:
                        self._tell_disagreement(event)
                    if not event.untimed:
                        delay = received - event.timestamp / 1000
                        buckets[bisect_left(bounds, delay)] += 1
                        if delay > 0:
                            delayed += delay
                    why = why_ignored(event.client_id)
                    if why is not None:
                        ignored[why] += 1
                    elif witness is None:
                        apply_event(event, received, moment)
                    else:
                        self._apply_witnessed(event, message, witness)
                else:
                    self._handle(event, message)
                if heard is not None:
                    heard(message, event)
            except Rejected as rejected:
                self._reject(message, rejected)
                if heard is not None:
                    heard(message, None)
            except Exception:  # noqa: BLE001 - a fault of ours must not take the batch with it
                self._tell_fault()
        self.counts.decoded["presence", "connected"] += connects
        self.counts.decoded["presence", "disconnected"] += disconnects
        delays.sum += delayed
        if self.traffic and isinstance(batch, Sequence):
            self._count_traffic(batch[:applied])
        return applied

    def _fire_before(self, message: Message, most: int) -> int:
        """Fire what was due when a message arrived, but no more than `most`.

        Returns how many more may fire, -1 where some of them had to be left.
        """
        offset = message.received - message.moment
        while self.presence.deadlines.earliest <= (until := min(message.moment, self.held_at)):
            if most <= 0:
                deadline = self.presence.next_deadline
                return 0 if deadline is None or deadline > until else -1
            try:
                most -= self.presence.advance(until, offset, most)
            except Exception:  # noqa: BLE001 - the others must fire all the same
                most -= 1
                self._tell_fault()
        return most

    def advance(self, now: float, offset: float, most: int | None = None) -> None:
        """Fire the deadlines due at the monotonic time `now`, or the first `most` of them.

        `offset` makes it wall-clock time.
        """
        now = min(now, self.held_at)
        if self.presence.deadlines.earliest <= now:
            self.presence.advance(now, offset, most)

    @property
    def next_deadline(self) -> float | None:
        """Monotonic time at which `advance` has something to do; None while that is held."""
        deadline = self.presence.next_deadline
        return None if deadline is None or deadline > self.held_at else deadline

    def _handle(self, event: Event, message: Message) -> None:
        """Take an event into account that is not a lifecycle event."""
        self.counts.decoded[event.family, event.type] += 1
        if event.topic_disagrees:
            self._tell_disagreement(event)
        if event.timestamp is not None:
            self.counts.delays[event.family].observe(message.received - event.timestamp / 1000)
        if isinstance(event, ConnectFailedEvent | SubscriptionEvent):
            why = self._client_filter.why_ignored(event.client_id)
            if why is None:
                self._apply_to_client(event, message)
            else:
                self.counts.ignored[why] += 1
        elif isinstance(event, RegistryEvent):
            outcome = self.fleet.learn(event, message.received)
            if outcome is Outcome.APPLIED:
                self.counts.registry_changes[event.family, event.type] += 1
            else:
                self.counts.ignored[outcome.value] += 1
        elif self._repeats.is_repeat(message):
            self.counts.ignored["duplicate"] += 1
        elif isinstance(event, CertificateEvent):
            self.counts.certificates_registered += 1
        else:
            self.counts.tallied[event.family][event.type] += 1

    def _apply_to_client(
        self, event: ConnectFailedEvent | SubscriptionEvent, message: Message
    ) -> None:
        before = self._told_state(event.client_id)
        if isinstance(event, SubscriptionEvent):
            self.fleet.hear_subscription(event, message.received)
        else:
            known = event.reason in CONNECT_FAILURE_REASONS
            self.counts.connect_failures[str(event.reason) if known else "other"] += 1
        if self.witness is not None:
            self.witness(event, message.received, before, None)

    def _apply_witnessed(self, event: LifecycleEvent, message: Message, witness: Witness) -> None:
        before = self._told_state(event.client_id)
        ordering = self.fleet.apply(event, message.received, message.moment)
        witness(event, message.received, before, ordering)

    def _told_state(self, client_id: str) -> State:
        client = self.presence.clients.get(client_id)
        return client.state if client is not None and client.is_known else State.UNKNOWN

    def _count_traffic(self, messages: Sequence[Message]) -> None:
        for connection, own in groupby(messages, _connection_of):
            traffic = self.traffic.get(connection)
            if traffic is not None:
                traffic.count(*own)

    def _reject(self, message: Message, rejected: Rejected) -> None:
        self.counts.rejected[rejected.reason] += 1
        # The detail tells where in the payload: as part of the key it would defeat the limit.
        self._log.warning(
            "message rejected",
            key=rejected.reason,
            reason=rejected.reason.value,
            detail=rejected.detail,
            topic=message.topic[:_SHOWN_OF_TOPIC],
        )

    def _tell_disagreement(self, event: Event) -> None:
        self.counts.topic_disagreements += 1
        self._log.warning(
            "topic and payload disagree; the payload decides",
            key=event.family,
            family=event.family,
            type=event.type,
        )

    def _tell_fault(self) -> None:
        """Log the exception that is being handled."""
        self.counts.faults += 1
        self._log.exception("a message could not be applied")
