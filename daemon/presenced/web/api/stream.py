"""Transitions as they happen, to those who listen.

Server-sent events, as "Server-sent events" of the HTML standard has them.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from aiohttp import web

from presenced.presence import State, Transition
from presenced.web.api.documents import transition_document
from presenced.web.api.requests import HEADERS, Parameters, ProblemError, states

_MOST_SUBSCRIBERS = 32
_MOST_WAITING = 1000
_REMEMBERED = 1000


class FullError(Exception):
    """As many listen as may at the same time."""


class Wanted(NamedTuple):
    """The transitions that somebody wants; each part that is left out wants all."""

    client_id: str | None = None
    prefix: str = ""
    states: frozenset[State] = frozenset()

    def __call__(self, transition: Transition) -> bool:
        """Whether a transition is wanted."""
        client_id = transition.client_id
        return (
            (self.client_id is None or client_id == self.client_id)
            and client_id.startswith(self.prefix)
            and (not self.states or transition.state in self.states)
        )


class Told(NamedTuple):
    """A transition and its ID, which rises by one with each."""

    number: int
    transition: Transition


class Subscriber:
    """Somebody who listens: what waits for him, and how much he has lost because it was too much.

    `is_open` tells whether he is still there.
    """

    def __init__(self, wanted: Wanted, is_open: Callable[[], bool]) -> None:
        self.is_open = is_open
        self.closed = False
        self._lost: float = 0
        self._wanted = wanted
        self._waiting: deque[Told] = deque()
        self._woken = asyncio.Event()

    def offer(self, told: Told) -> None:
        """Let a transition wait if it is wanted; the oldest goes where there is no more room."""
        if not self._wanted(told.transition):
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(told)
        self._woken.set()

    def lose(self, count: float) -> None:
        """Take so many for lost; infinity where nobody knows how many."""
        self._lost += count
        if count:
            self._woken.set()

    def close(self) -> None:
        """Let him go."""
        self.closed = True
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Return when there is something to tell, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def take(self, most: int) -> tuple[float, list[Told]]:
        """How much was lost since this was last asked, see `lose`, and what comes after it."""
        lost, self._lost = self._lost, 0
        told = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting and not self.closed:
            self._woken.clear()
        return lost, told


class Hub:
    """Tells transitions to at most 32 subscribers, and the last 1000 to who comes back for them.

    What it told is named by IDs that hold for the life of this hub.
    """

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)
        self._number = 0
        self._recent: deque[Transition] = deque(maxlen=_REMEMBERED)
        self._subscribers: list[Subscriber] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def tell(self, transition: Transition) -> None:
        """Tell a transition to whoever wants it."""
        self._number += 1
        self._recent.append(transition)
        if self._subscribers:
            told = Told(self._number, transition)
            for subscriber in self._subscribers:
                subscriber.offer(told)

    def id_of(self, number: int) -> str:
        """The ID of what was told, by which one may come back."""
        return f"{self._name}-{number}"

    @property
    def now(self) -> str:
        """The ID of the last that was told."""
        return self.id_of(self._number)

    def subscribe(
        self, wanted: Wanted, is_open: Callable[[], bool], last: str | None = None
    ) -> Subscriber:
        """Listen from now on, or from what came after an ID; raises FullError.

        What can be told no longer counts as lost.
        """
        self._subscribers = [each for each in self._subscribers if each.is_open()]
        if self._closed or len(self._subscribers) >= _MOST_SUBSCRIBERS:
            raise FullError
        subscriber = Subscriber(wanted, is_open)
        if last is not None:
            self._resume(subscriber, last)
        self._subscribers.append(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Listen no longer."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def close(self) -> None:
        """Let all subscribers go."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.close()

    def _resume(self, subscriber: Subscriber, last: str) -> None:
        name, _, number = last.rpartition("-")
        known = name == self._name and number.isascii() and number.isdigit() and len(number) < 20
        if not known or int(number) > self._number:
            subscriber.lose(math.inf)
            return
        forgotten = self._number - len(self._recent)
        subscriber.lose(max(0, forgotten - int(number)))
        for each, transition in enumerate(self._recent, forgotten + 1):
            if each > int(number):
                subscriber.offer(Told(each, transition))


_HEARTBEAT = 15.0
_STUCK = 30.0
_AT_ONCE = 200
_RETRY_AFTER = 5
_HEADERS: Mapping[str, str] = {
    **HEADERS,
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # nginx would keep events back
}


async def serve_events(
    request: web.Request, hub: Hub, heartbeat: float = _HEARTBEAT
) -> web.StreamResponse:
    """Tell transitions for as long as somebody listens; raises ProblemError."""
    parameters = Parameters(request.query, ("client_id", "prefix", "state"))
    wanted = Wanted(parameters.one("client_id"), parameters.one("prefix") or "", states(parameters))
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    subscriber = _subscribe(request, hub, wanted)
    try:
        await response.prepare(request)
        # Whoever comes back keeps the ID that he has until he is told what came after it.
        begins = "" if "Last-Event-ID" in request.headers else f"id: {hub.now}\n"
        await _send(response, f"retry: 2000\n{begins}: listening\n\n")
        await _tell(subscriber, hub, response, heartbeat)
    except (ConnectionError, TimeoutError):
        # Who does not take what he is sent would hold his place for ever.
        if request.transport is not None:
            request.transport.abort()
    finally:
        hub.leave(subscriber)
    return response


def _subscribe(request: web.Request, hub: Hub, wanted: Wanted) -> Subscriber:
    def is_open() -> bool:
        return request.transport is not None and not request.transport.is_closing()

    try:
        return hub.subscribe(wanted, is_open, request.headers.get("Last-Event-ID"))
    except FullError:
        detail = "as many listen as may at the same time; close another stream, or come back"
        raise ProblemError(503, detail, retry_after=_RETRY_AFTER) from None


async def _tell(
    subscriber: Subscriber, hub: Hub, response: web.StreamResponse, heartbeat: float
) -> None:
    while True:
        await subscriber.wait(heartbeat)
        lost, told = subscriber.take(_AT_ONCE)
        text = "".join(_events(lost, told, hub))
        if subscriber.closed and not text:
            return
        # The ID goes on, also where nothing is told of what others want.
        await _send(response, text or f"id: {hub.now}\n: still here\n\n")


def _events(lost: float, told: Iterable[Told], hub: Hub) -> Iterable[str]:
    if lost:
        yield f"event: lost\ndata: {_json({'count': None if math.isinf(lost) else int(lost)})}\n\n"
    for number, transition in told:
        data = _json(transition_document(transition))
        yield f"event: transition\nid: {hub.id_of(number)}\ndata: {data}\n\n"


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()


async def _send(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(_STUCK):
        await response.write(text.encode())
