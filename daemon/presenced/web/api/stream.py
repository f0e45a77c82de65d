"""Transitions as server-sent events (HTML standard, section "Server-sent events")."""

import asyncio
import math
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec
from aiohttp import web
from multidict import MultiMapping

from presenced.presence import Transition
from presenced.web.api.answer_builder import transition_answer
from presenced.web.api.parameters import STREAM_PARAMETERS, check_query, states
from presenced.web.api.problems import HEADERS, ProblemError
from presenced.web.negotiation import negotiate_type

_MAX_PENDING = 1000
_MAX_REMEMBERED = 1000
_RETRY_AFTER = 5
_EVENTS_PER_WRITE = 200
_HEADERS: Mapping[str, str] = {
    **HEADERS,
    "X-Accel-Buffering": "no",  # nginx would hold back events
}

Selects = Callable[[Transition], bool]


class StreamEvent(NamedTuple):
    """A transition, and the ID with which a subscriber can resume the stream after it."""

    id: str
    transition: Transition


class Subscriber:
    """The pending events of one subscriber, and the number of lost ones."""

    def __init__(self, selects: Selects) -> None:
        self.closed = False
        self._selects = selects
        self._due = 0.0  # the number of events to take or to report as lost
        self._pending: deque[StreamEvent] = deque(maxlen=_MAX_PENDING)
        self._wakeup = asyncio.Event()

    def offer(self, event: StreamEvent) -> None:
        """Add an event if it is selected; the oldest pending one is lost if there are too many."""
        if self._selects(event.transition):
            self._pending.append(event)
            self._due += 1
            self._wakeup.set()

    def lose(self, count: float) -> None:
        """Count events as lost; infinity if their number is unknown."""
        self._due += count
        if count:
            self._wakeup.set()

    def close(self) -> None:
        """End the subscription after the pending events."""
        self.closed = True
        self._wakeup.set()

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to take, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()

    def take(self, limit: int) -> tuple[float, list[StreamEvent]]:
        """Return how many events were lost since the last call, and the oldest pending ones."""
        lost = self._due - len(self._pending)
        events = [self._pending.popleft() for _ in range(min(limit, len(self._pending)))]
        self._due = len(self._pending)
        if not self._pending and not self.closed:
            self._wakeup.clear()
        return lost, events


class Hub:
    """Publishes transitions to subscribers; one that reconnects gets the ones it missed.

    The IDs of events are valid as long as the hub exists. `heartbeat` is the longest silence in
    seconds.
    """

    def __init__(self, *, max_subscribers: int = 32, heartbeat: float = 15.0) -> None:
        self.heartbeat = heartbeat
        self._max_subscribers = max_subscribers
        self._name = secrets.token_hex(4)
        self._number = 0
        self._recent: deque[Transition] = deque(maxlen=_MAX_REMEMBERED)
        self._subscribers: set[Subscriber] = set()
        self._closed = False

    @property
    def last_id(self) -> str:
        """The ID of the last event."""
        return self._id(self._number)

    def publish(self, transition: Transition) -> None:
        """Publish a transition."""
        self._number += 1
        self._recent.append(transition)
        if self._subscribers:
            event = StreamEvent(self.last_id, transition)
            for subscriber in self._subscribers:
                subscriber.offer(event)

    def skip(self, count: int) -> None:
        """Count transitions that must not be published as lost for every subscriber."""
        self._number += count
        self._recent.clear()
        for subscriber in self._subscribers:
            subscriber.lose(count)

    def subscribe(self, selects: Selects, last_id: str | None = None) -> Subscriber:
        """Subscribe to the selected transitions, from now on or after the one with `last_id`.

        Those that are no longer remembered count as lost. Raises ProblemError if the maximum number
        of subscribers is reached.
        """
        if self._closed or len(self._subscribers) >= self._max_subscribers:
            detail = "the maximum number of streams is open; close another one or try again later"
            raise ProblemError(503, detail, retry_after=_RETRY_AFTER)
        subscriber = Subscriber(selects)
        if last_id is not None:
            self._resume(subscriber, last_id)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is still subscribed."""
        self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Close all subscribers and refuse new ones."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.close()

    def _id(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _resume(self, subscriber: Subscriber, last_id: str) -> None:
        match = re.fullmatch(f"{self._name}-([0-9]{{1,19}})", last_id)
        number = int(match[1]) if match else math.inf
        if number > self._number:
            subscriber.lose(math.inf)
            return
        forgotten = self._number - len(self._recent)
        subscriber.lose(max(0, forgotten - number))
        for each, transition in enumerate(self._recent, forgotten + 1):
            if each > number:
                subscriber.offer(StreamEvent(self._id(each), transition))


async def serve_events(request: web.Request, hub: Hub) -> web.StreamResponse:
    """Answer with a stream of transitions until either side closes it.

    The listener cancels the handler when the client disconnects, and disconnects a client that
    reads nothing.
    """
    check_query(request.query, STREAM_PARAMETERS)
    content_type = negotiate_type(request, "text/event-stream")
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": content_type})
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    last_id = request.headers.get("Last-Event-ID")
    subscriber = hub.subscribe(_filter(request.query), last_id)
    # A subscriber that resumes keeps its ID until it has received the next event. The ID is that of
    # now: after `prepare` it may be that of an event that is still pending.
    first_id = f"id: {hub.last_id}\n" if last_id is None else ""
    try:
        await response.prepare(request)
        await response.write(f"retry: 2000\n{first_id}: listening\n\n".encode())
        await _send_events(subscriber, hub, response)
    except ConnectionError:
        pass  # The client has disconnected.
    finally:
        hub.unsubscribe(subscriber)
    return response


def _filter(query: MultiMapping[str]) -> Selects:
    client_id, prefix, wanted = query.get("client_id"), query.get("prefix", ""), states(query)
    return lambda transition: (
        (client_id is None or transition.client_id == client_id)
        and transition.client_id.startswith(prefix)
        and (not wanted or transition.state in wanted)
    )


async def _send_events(subscriber: Subscriber, hub: Hub, response: web.StreamResponse) -> None:
    while True:
        await subscriber.wait(hub.heartbeat)
        lost, events = subscriber.take(_EVENTS_PER_WRITE)
        text = ""
        if lost:
            count = None if math.isinf(lost) else int(lost)
            text = f"event: lost\ndata: {_json({'count': count})}\n\n"
        for event in events:
            data = _json(transition_answer(event.transition))
            text += f"event: transition\nid: {event.id}\ndata: {data}\n\n"
        if subscriber.closed and not text:
            return
        # The ID advances even if no event is selected, so that it does not become too old.
        heartbeat = f"id: {hub.last_id}\n: heartbeat\n\n"
        await response.write((text or heartbeat).encode())


def _json(answer: object) -> str:
    return msgspec.json.encode(answer).decode()
