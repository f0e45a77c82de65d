"""Connections to the listener: how many there may be, and how long each may keep it waiting.

A client that connects and then sends or reads nothing costs a file descriptor. Time limits end such
connections. Above the maximum number, a new connection takes the place of the one that has kept the
listener waiting longest, so that descriptors stay free for MQTT and the state file.
"""

import asyncio
import math
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from aiohttp import hdrs, web

from presenced.system.log import ThrottledLogger, get_logger, stack_of
from presenced.system.loop import abort_transport
from presenced.web.limits import limit_key
from presenced.web.tls import handshake_hint

_MAX_CONNECTIONS = 512
_ACCEPTS_PER_TURN = 16
_ACCEPT_AGAIN_AFTER = 1.0
_LONGEST_CHECK_INTERVAL = 1.0
_CONTINUE = "100-continue"

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class TimeLimits(NamedTuple):
    """How long a connection may wait for its client, in seconds."""

    headers: float = 10.0
    """For the TLS handshake, and for the headers of a request from its first byte on."""

    idle: float = 30.0
    """For the next request."""

    reading: float = 30.0
    """For the client to read what is ready for it."""


def connection_limit() -> int:
    """Return how many connections there may be: half of the file descriptors, at most 512."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(1, min(_MAX_CONNECTIONS, descriptors // 2))


class Connection(web.RequestHandler):
    """The HTTP protocol of one connection, and how long it has waited for its client.

    `peer` identifies its client; `lost` is called when the connection has ended.
    """

    __slots__ = (
        "_channel",
        "_idle",
        "_limit",
        "_limits",
        "_log",
        "_lost",
        "_stalled_from",
        "_waiting_from",
        "peer",
    )

    def __init__(
        self,
        server: web.Server,
        peer: str,
        limits: TimeLimits,
        log: ThrottledLogger,
        lost: Callable[["Connection"], None],
    ) -> None:
        # No handler reads the body of a request: aiohttp discards it, and need not unpack it first.
        options: dict[str, Any] = {"lingering_time": limits.headers, "auto_decompress": False}
        options["access_log"] = None
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.peer = peer
        self._limits = limits
        self._log = log
        self._lost = lost
        self._channel: asyncio.Transport | None = None
        self._stalled_from = math.inf
        self._wait(limits.headers)

    @property
    def waiting_from(self) -> float:
        """Since when it waits for its client; infinity if it does not."""
        return min(self._waiting_from, self._stalled_from)

    def is_overdue(self, now: float) -> bool:
        """Return whether it has waited for its client for too long."""
        return (
            now - self._waiting_from > self._limit
            or now - self._stalled_from > self._limits.reading
        )

    @property
    def is_open(self) -> bool:
        """Whether the connection, with its TLS handshake, has been made and has not ended."""
        return self._channel is not None

    def abort(self) -> None:
        """Close the connection without waiting for the client to read what is left."""
        if self._channel is not None:
            abort_transport(self._channel)

    def begin_answer(self) -> None:
        """Wait for nothing: a handler works on the answer."""
        self._idle, self._waiting_from = False, math.inf

    def end_answer(self) -> None:
        """Wait for the client to read the answer and to send its next request."""
        self._wait(self._limits.idle, idle=True)

    def _wait(self, limit: float, *, idle: bool = False) -> None:
        self._idle, self._limit, self._waiting_from = idle, limit, time.monotonic()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._channel = cast(asyncio.Transport, transport)
        self._wait(self._limits.headers)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._channel = None
        super().connection_lost(exc)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones of a request begin its time limit."""
        if data and self._idle:
            self._wait(self._limits.headers)
        super().data_received(data)

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as the answer is written."""
        self._stalled_from = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        self._stalled_from = math.inf
        if self._idle:
            self.end_answer()
        super().resume_writing()

    # What aiohttp calls

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it repeats the request, with its credentials
    ) -> web.StreamResponse:
        """Return the answer to a malformed request, or to one whose handler failed."""
        if isinstance(exc, ConnectionError) and (
            self._channel is None or self._channel.is_closing()
        ):
            raise exc  # The client disconnected; aiohttp closes the connection silently.
        error = type(exc).__name__
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._log.warning("malformed request", key=error, error=error)
        else:
            stack = None if exc is None else stack_of(exc)
            self._log.error("request failed", key=error, error=error, exception=stack)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer has been sent")
        response = web.Response(status=status, text=f"{HTTPStatus(status).phrase}\n")
        response.force_close()
        return response


def _answering(handle: Handle) -> Handle:
    """Return a handler during which the connection does not wait for its client."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        connection.begin_answer()
        try:
            # aiohttp's own answer repeats the header, and fails for one that is not UTF-8.
            if request.headers.get(hdrs.EXPECT, _CONTINUE).lower() != _CONTINUE:
                raise web.HTTPExpectationFailed(text=f"Only {_CONTINUE} can be expected.\n")
            return await handle(request)
        finally:
            connection.end_answer()

    return answer


class ConnectionPool:
    """Accepts the connections of one address, at most `limit` at a time.

    `tls` returns the TLS context of a new connection, None for plain HTTP.
    """

    def __init__(
        self,
        limit: int,
        limits: TimeLimits,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        self._limit = limit
        self._limits = limits
        self._tls = tls
        self._log = ThrottledLogger(get_logger("presenced.http"))
        self._sockets: Sequence[socket.socket] = ()
        # With the task that makes the connection, which includes the TLS handshake.
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._check_interval = min(_LONGEST_CHECK_INTERVAL, min(limits) / 4)

    def open(self, sockets: Sequence[socket.socket], server: web.Server) -> None:
        """Accept connections on these sockets, for an aiohttp server."""
        self._sockets = sockets
        self._server = server
        server.request_handler = _answering(server.request_handler)
        for each in sockets:
            self._listen(each)
        self._check_overdue()

    def stop(self) -> None:
        """Accept no more connections."""
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            loop.remove_reader(each)
            each.close()
        if self._sockets:
            self._next_check.cancel()
        self._sockets = ()

    def abort(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            self._close(connection)

    def _listen(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(listening, error)
                return
            is_full = len(self._connections) >= self._limit
            self._admit(accepted, address[0])
            if is_full:
                return  # First the one that made room gives back its file descriptor.

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        """Accept nothing for a moment, because the system has no room for another connection."""
        self._log.error(
            "cannot accept connections for a moment",
            error=error.strerror,
            hint="raise LimitNOFILE of the service, or `ulimit -n`, if files are too many",
        )
        self._close_longest_waiting()
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(_ACCEPT_AGAIN_AFTER, self._listen, listening)

    def _admit(self, accepted: socket.socket, address: str) -> None:
        if len(self._connections) >= self._limit:
            made_room = self._close_longest_waiting()
            self._log.warning(
                "too many connections: each new one closes the one that waited longest"
                if made_room
                else "too many connections: new ones are refused",
                limit=self._limit,
            )
            if not made_room:
                accepted.close()
                return
        connection = Connection(
            self._server, limit_key(address), self._limits, self._log, self._forget
        )
        making = asyncio.create_task(self._make(connection, accepted))
        self._connections[connection] = making
        making.add_done_callback(lambda _: self._made(connection, accepted))

    async def _make(self, connection: Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls()
        limit = self._limits.headers if context is not None else None
        try:
            # A peer that vanishes without a packet, such as a laptop that is closed, is noticed.
            milliseconds = round(self._limits.reading * 1000)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=context,
                ssl_handshake_timeout=limit,
                ssl_shutdown_timeout=limit,
            )
        except ssl.SSLError as error:
            reason = error.reason or type(error).__name__
            hint = handshake_hint(reason)
            self._log.info("TLS handshake failed", key=reason, reason=reason, hint=hint)
        except OSError:
            pass  # The client has closed the connection, or the handshake took too long.

    def _made(self, connection: Connection, accepted: socket.socket) -> None:
        if not connection.is_open:
            accepted.close()
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _close(self, connection: Connection) -> None:
        task = self._connections.pop(connection)
        task.cancel()
        connection.abort()

    def _close_longest_waiting(self) -> bool:
        """Close the connection that waits longest; return False if none waits for its client.

        Those of the address with the most connections come first, so that a client that opens many
        takes away its own.
        """
        waiting = [each for each in self._connections if each.waiting_from < math.inf]
        if not waiting:
            return False
        crowds = Counter(each.peer for each in self._connections)
        self._close(min(waiting, key=lambda each: (-crowds[each.peer], each.waiting_from)))
        return True

    def _check_overdue(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._connections if each.is_overdue(now)]:
            self._close(connection)
        self._next_check = asyncio.get_running_loop().call_later(
            self._check_interval, self._check_overdue
        )
