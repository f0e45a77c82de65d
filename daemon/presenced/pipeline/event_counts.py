"""Count what messages were, and log those that are not as they should be."""

from collections import Counter, OrderedDict
from collections.abc import Iterable

from presenced.events.message import Message
from presenced.events.model import (
    EVENT_TYPES,
    REGISTRY_FAMILIES,
    TALLIED_FAMILIES,
    Event,
    Rejected,
    RejectionReason,
)
from presenced.presence import Distribution
from presenced.system.log import ThrottledLogger, get_logger

_MAX_TOPIC_LENGTH = 256  # the longest topic that AWS IoT Core allows
# AWS IoT Core delivers a copy within minutes; the memory needs to cover no more than that.
_REMEMBERED_MESSAGES = 10_000

_DELAY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)


class EventCounts:
    """What the pipeline has counted: every message once, as decoded or as rejected.

    What is wrong with a message is counted and logged by one method.
    """

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
        self.dated_ahead = 0
        self.last_ahead: tuple[float, float] | None = None
        """When the last event that was dated ahead came (monotonic), and by how many seconds."""
        self.faults = 0
        self.connect_failures: Counter[str] = Counter()
        self.delays = {family: Distribution(_DELAY_BUCKETS) for family in EVENT_TYPES}
        self._repeats: OrderedDict[int, None] = OrderedDict()
        self._log = ThrottledLogger(get_logger("presenced.pipeline"))

    def is_dated_ahead(self, event: Event, message: Message, delay: float, accuracy: float) -> bool:
        """Return whether an event time lies too far ahead to be right; it counts as just now then.

        Otherwise no true event would be accepted until that time has come. `delay` is in seconds,
        `accuracy`, how far event times may be off, in milliseconds.
        """
        if -delay * 1000 <= accuracy:
            return False
        self.dated_ahead += 1
        self.last_ahead = (message.moment, -delay)
        self._log.warning(
            "event time is ahead of the clock of this machine; the received time counts. If this "
            "happens with most events, correct the clock",
            key=event.family,
            family=event.family,
            type=event.type,
            seconds_ahead=round(-delay, 3),
        )
        return True

    def is_repeat(self, message: Message) -> bool:
        """Return whether an event that nothing can order came before, byte for byte."""
        key = hash((message.topic, message.payload))
        if key in self._repeats:
            return True
        self._repeats[key] = None
        if len(self._repeats) > _REMEMBERED_MESSAGES:
            self._repeats.popitem(last=False)
        return False

    def reject(self, message: Message, rejected: Rejected) -> None:
        """Count and log a message that is no event."""
        self.rejected[rejected.reason] += 1
        # The detail names a place in the payload: as part of the key it would defeat the limit.
        self._log.warning(
            "message rejected",
            key=rejected.reason,
            reason=rejected.reason.value,
            detail=rejected.detail,
            topic=message.topic[:_MAX_TOPIC_LENGTH],
        )

    def note_disagreement(self, event: Event, message: Message) -> None:
        """Count and log an event whose topic and payload disagree."""
        self.topic_disagreements += 1
        self._log.warning(
            "topic and payload disagree; the payload decides",
            key=event.family,
            family=event.family,
            type=event.type,
            topic=message.topic[:_MAX_TOPIC_LENGTH],
        )

    def note_fault(self) -> None:
        """Count and log the exception that is being handled."""
        self.faults += 1
        self._log.exception("a message could not be applied")


def _by_type(families: Iterable[str]) -> dict[tuple[str, str], int]:
    return {(family, each): 0 for family in families for each in EVENT_TYPES[family]}
