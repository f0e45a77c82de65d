"""The answers of AWS in a recording: typed, looked up ahead, and merged by a replay."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from presenced.aws import answers
from presenced.aws.answers import Connectivity, ThingPage
from presenced.aws.rows import lookup_row, presence_rows, registry_events
from presenced.events.message import Message
from presenced.events.model import LifecycleEvent, RegistryEvent
from presenced.pipeline import Batch, Pipeline
from presenced.presence.lookups import LOOKUP_TIMEOUT
from presenced.presence.record import Row
from presenced.sources.recording import RecordedAnswer

_READ: dict[str, Callable[[bytes], ThingPage | Connectivity]] = {
    "SearchIndex": answers.thing_page,
    "GetThingConnectivityData": answers.thing_connectivity,
    "GetConnection": answers.connection,
}


class TypedAnswer(NamedTuple):
    """A recorded answer and what it says."""

    recorded: RecordedAnswer
    value: ThingPage | Connectivity


Item = Message | TypedAnswer
"""What a recording holds."""


def read_answers(
    items: Iterable[Message | RecordedAnswer], on_bad_line: Callable[[int, str], None]
) -> Iterator[Item]:
    """Yield messages as they are, and answers as typed values.

    `on_bad_line` gets the number of each line that holds no answer of its operation, and why.
    """
    for item in items:
        if isinstance(item, Message):
            yield item
            continue
        try:
            value = _READ[item.operation](item.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            on_bad_line(item.line, f"not an answer of {item.operation}: {error}")
            continue
        yield TypedAnswer(item, value)


class Timeline:
    """A recording in order, which can tell whether a lookup will be answered.

    Reads ahead only when it is asked, and then no further than a lookup waits. `start` is when the
    recording begins, in seconds since the epoch: with its first message, or when its first answer
    was asked for; None if it is empty.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._ahead: deque[Item] = deque()
        # When the answers to lookups in `_ahead` come, by client ID.
        self._answers: dict[str, deque[float]] = {}
        self.start: float | None = None
        if self._read():
            first = self._ahead[0]
            self.start = first.received if isinstance(first, Message) else first.recorded.asked

    def steps(self, limit: int) -> Iterator[list[Message] | TypedAnswer]:
        """Yield answers one by one, and the messages between them in batches of up to `limit`."""
        batch: list[Message] = []
        while self._ahead or self._read():
            item = self._ahead.popleft()
            if isinstance(item, Message):
                batch.append(item)
                if len(batch) < limit:
                    continue
            if batch:
                yield batch
                batch = []
            if isinstance(item, TypedAnswer):
                yield item
                # Only now: the deadlines before it may want it.
                self._forget(item.recorded)
        if batch:
            yield batch

    def answers_lookup(self, client_id: str, now: float) -> bool:
        """Return whether an answer about a client comes within 2 seconds of a virtual time."""
        until = now + LOOKUP_TIMEOUT
        while not self._ahead or _moment(self._ahead[-1]) <= until:
            if not self._read():
                break
        moments = self._answers.get(client_id)
        return moments is not None and moments[0] <= until

    def _read(self) -> bool:
        """Read one item ahead; return False at the end."""
        item = next(self._items, None)
        if item is None:
            return False
        self._ahead.append(item)
        if isinstance(item, TypedAnswer) and item.recorded.client_id:
            moments = self._answers.setdefault(item.recorded.client_id, deque())
            moments.append(item.recorded.moment)
        return True

    def _forget(self, answer: RecordedAnswer) -> None:
        moments = self._answers.get(answer.client_id)
        if moments:
            moments.popleft()
            if not moments:
                del self._answers[answer.client_id]


def _moment(item: Item) -> float:
    return item.moment if isinstance(item, Message) else item.recorded.moment


class AnswerMerger:
    """Merges recorded answers as the daemon merges those it gets; an observer of the pipeline.

    A recording holds neither gaps nor the status of the index. So a snapshot settles if its first
    page was asked for T (`presence.timestamp_accuracy`) or more after `start`, the start of the
    recording; and billing groups, which the daemon lists separately, count as groups.
    """

    def __init__(self, pipeline: Pipeline, start: float, *, seed_registry: bool) -> None:
        self._pipeline = pipeline
        self._fleet = pipeline.fleet
        self._settles_from = start + self._fleet.presence.rules.ordering.timestamp_accuracy / 1000
        self._seed_registry = seed_registry
        # When the first page of the snapshot was asked for whose last page has not come yet.
        self._began: float | None = None
        # The last accepted event of each client, and when it was received.
        self._events: dict[str, tuple[float, LifecycleEvent]] = {}

    def observe(self, batch: Batch) -> None:
        """Note the events that an answer must be compared with."""
        for change in batch.changes.clients:
            if isinstance(change.event, LifecycleEvent) and change.against is None:
                self._events[change.client.client_id] = change.received, change.event

    def merge(self, answer: TypedAnswer) -> None:
        """Merge an answer; deadlines that were due when it was received must have fired."""
        recorded, value = answer
        registry: list[RegistryEvent] = []
        if isinstance(value, ThingPage):
            rows = self._page_rows(recorded.asked, value)
            if self._seed_registry:
                registry = registry_events(value.things, self._fleet, asked=recorded.asked)
        else:
            row = lookup_row(
                recorded.client_id,
                value,
                asked=recorded.asked,
                epoch=self._fleet.presence.gap_epoch,
                operation=recorded.operation,
            )
            rows = [row]
        since = self._events_since(recorded.asked, rows)
        self._pipeline.merge(rows, registry, since, recorded.moment)

    def _events_since(self, asked: float, rows: list[Row]) -> dict[str, LifecycleEvent]:
        """Return the last events of the clients of rows, if received after these were asked for."""
        events = {}
        for row in rows:
            received, event = self._events.get(row.client_id, (asked, None))
            if event is not None and received > asked:
                events[row.client_id] = event
        return events

    def _page_rows(self, asked: float, page: ThingPage) -> list[Row]:
        began = asked if self._began is None else self._began
        self._began = began if page.next_token else None
        return presence_rows(
            page.things,
            self._fleet,
            asked=asked,
            epoch=self._fleet.presence.gap_epoch,
            settles=began >= self._settles_from,
        )
