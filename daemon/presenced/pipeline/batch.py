"""What goes into the pipeline beside messages, and what its observers get."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from presenced.events.message import Message
from presenced.events.model import Event, LifecycleEvent, RegistryEvent
from presenced.fleet import Changes
from presenced.presence.record import Row


class Batch(NamedTuple):
    """The result of one batch of messages and of the deadlines before and between them.

    `events` has one entry per message, None if it was rejected, or is a record of a snapshot.
    """

    messages: Sequence[Message]
    events: Sequence[Event | None]
    changes: Changes


class Observer(Protocol):
    """A consumer of batches: metrics, the API, the state store, the log, gap detection."""

    def observe(self, batch: Batch) -> None:
        """Take in a batch after it has been applied, before any of it is acknowledged."""


class Answers(NamedTuple):
    """What AWS says: see `Pipeline.merge`."""

    rows: Iterable[Row] = ()
    registry: Iterable[RegistryEvent] = ()
    events: Mapping[str, LifecycleEvent] = {}


class SnapshotRecords(Protocol):
    """Reads the messages that are records of a snapshot, not events."""

    def read(self, message: Message) -> Answers:
        """Return what a message says. Raises Rejected."""
