"""One log line for each client that goes online or offline, also where thousands do in a second.

Who is told what becomes of clients: metrics, and the API where there is one.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted

from presenced.fleet import Fleet
from presenced.metrics.declaration import MetricSources
from presenced.presence import Client, State, Transition
from presenced.system import log
from presenced.web.api.application import Api

_COMPONENT = "presenced"


class TransitionLog:
    """Writes transitions as the logger `presenced` writes lines, for less.

    Lines of json are put together here, and those of one turn of the loop are written at once: that
    costs 2 µs for each in place of 12. All other formats go the way of all lines.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: list[str] = []
        self._times, self._sinces = _Seconds(), _Seconds()
        self.follow()

    def follow(self) -> None:
        """Write from now on as logs were last configured."""
        self.flush()
        self._stream = log.json_stream()
        self._is_shown = log.shows("info")
        self._log = log.get_logger(_COMPONENT).bind()

    def add(self, transition: Transition) -> None:
        """Write a line, at the latest in the next turn of the loop."""
        if not self._is_shown:
            return
        if self._stream is None:
            self._log.info(
                "client went " + transition.state,
                client_id=transition.client_id,
                previous=str(transition.previous),
                since=self._sinces.milliseconds(transition.since),
                reason=transition.reason,
            )
            return
        if not self._lines:
            self._loop.call_soon(self.flush)
        reason = transition.reason
        self._lines.append(
            f'{{"component": "{_COMPONENT}", "client_id": {quoted(transition.client_id)},'
            f' "previous": "{transition.previous}",'
            f' "since": "{self._sinces.milliseconds(transition.since)}",'
            f' "reason": {"null" if reason is None else quoted(reason)},'
            f' "event": "client went {transition.state}", "level": "info",'
            f' "timestamp": "{self._times.microseconds(time.time())}"}}\n'
        )

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines and self._stream is not None:
            log.write(self._stream, "".join(lines))


class _Seconds:
    """Times as text. Most are in the same second as the one before."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def milliseconds(self, at: float) -> str:
        """As `datetime.isoformat` with milliseconds, rounded down."""
        second, micros = divmod(round(at * 1_000_000), 1_000_000)
        return f"{self._of(second)}.{micros // 1000:03}+00:00"

    def microseconds(self, at: float) -> str:
        """With microseconds, and Z."""
        second, micros = divmod(round(at * 1_000_000), 1_000_000)
        return f"{self._of(second)}.{micros:06}Z"

    def _of(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._text


class Audience:
    """Passes on what a fleet tells; `join` comes before it tells anything."""

    _fleet: Fleet
    _view: MetricSources
    _api: Api | None

    def join(self, fleet: Fleet, view: MetricSources, api: Api | None) -> None:
        """Pass on what this fleet tells to these."""
        self._fleet, self._view, self._api = fleet, view, api
        if api is not None:
            api.on_follow = self.listen
        self.listen()

    def listen(self) -> None:
        """Hear of changed states only where somebody counts them: each costs a microsecond."""
        follows = self._api is not None and self._api.follows
        counts = follows or bool(self._view.classes.labels)
        self._fleet.use_count(self._count if counts else None)

    def _count(self, client: Client, state: State, change: int) -> None:
        """A client enters (1) or leaves (-1) a state."""
        self._view.classes.count(client, state, change)
        if change > 0 and self._api is not None:
            self._api.changed(client)

    def enter(self, client: Client) -> None:
        """A client is new."""
        if self._api is not None:
            self._api.entered(client)

    def restore(self, client: Client) -> None:
        """A client of a state file is known now that could be opened only later."""
        if client.transition is not None:
            self._view.series.show(client)
        if self._api is not None:
            self._api.entered(client)

    def transition(self, client: Client, transition: Transition) -> None:
        """A client went online or offline."""
        self._view.series.show(client)
        if self._api is not None:
            self._api.went(client, transition)

    def forget(self, client: Client) -> None:
        """A client is dropped."""
        self._view.series.drop(client)
        if self._api is not None:
            self._api.forgotten(client)

    def describe(self, client: Client) -> None:
        """The registry may say something else of a client."""
        self._view.series.describe(client)
        if self._api is not None:
            self._api.changed(client)
