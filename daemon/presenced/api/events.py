"""Server-sent events, as "Server-sent events" of the HTML standard has them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from presenced.api.documents import transition_document
from presenced.api.parameters import Parameters, states
from presenced.api.problems import HEADERS, ProblemError
from presenced.api.stream import FullError, Hub, Subscriber, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presenced.api.stream import Told

__all__ = ["serve_events"]

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
