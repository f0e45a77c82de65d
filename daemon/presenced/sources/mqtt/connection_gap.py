"""Whether one MQTT connection has missed messages, and whether it has caught up. Pure.

Lifecycle events are not retained: what is published while a connection is down reaches it only
through a persistent session, whose queue the broker sends when the connection is back (MQTT 5
section 4.4). MQTT does not mark the end of that queue, and new messages may overtake it: AWS IoT
Core sends stored messages at 10 a second, all others at once ("AWS IoT Core endpoints and quotas").
`now` is monotonic seconds; no other clock is read, so that setting the machine's clock changes
nothing.
"""

from collections import deque
from dataclasses import dataclass, field

from presenced.sources.gaps import Gap, GapReason

_QUIET = 2.0
# A queue sends more messages than this in 6 s; a fleet has a late event now and then.
_FEW, _FEW_IN = 3, 6.0
_CLOCKS_DIFFER_BY = 1.0


@dataclass(slots=True)
class ConnectionGap:
    """The time that one connection is down or behind. `session_expiry` 0 is a clean session.

    From `missing_since` on, the broker may hold messages that have not arrived: while the
    connection is down, and until the queue of the resumed session has been received. While it is
    down, `unused_since` is when it was last up: a broker counts the expiry from there (MQTT 5
    section 3.1.2.11.2). Both are None at first unless an earlier process used the session.
    """

    session_expiry: float = 0.0
    unused_since: float | None = None
    missing_since: float | None = None
    is_up: bool = field(default=False, init=False)
    catching_up: bool = field(default=False, init=False)
    _held_back: bool = field(default=False, init=False)
    _connected_at: float = field(default=0.0, init=False)
    _new_from: float = field(default=0.0, init=False)
    _stalled_at: float = field(default=0.0, init=False)
    _went_down_at: float | None = field(default=None, init=False)
    _down_for: float = field(default=0.0, init=False)
    _clock_ahead: float = field(default=0.0, init=False)
    _queued: deque[float] = field(default_factory=lambda: deque(maxlen=_FEW), init=False)

    def up(self, now: float, *, resumed: bool) -> Gap | None:
        """Note that the connection is up; return what may have been lost."""
        gap = self._gap(now, resumed=resumed)
        self.is_up, self.catching_up, self._held_back = True, resumed, False
        self._connected_at = self._new_from = now
        self._down_for = 0.0 if self._went_down_at is None else now - self._went_down_at
        self._clock_ahead = 0.0
        self.unused_since = None
        if not resumed:
            self.missing_since = None
        elif self.missing_since is None:
            self.missing_since = now
        return gap

    def hold_back(self, now: float, since: float) -> None:
        """Note that acknowledgements wait, the oldest since `since`.

        The broker may have stopped sending; the rest comes after they are sent, like a queue.
        """
        if not self.is_up:
            return
        self.catching_up = self._held_back = True
        self._new_from = now
        self.missing_since = since if self.missing_since is None else min(since, self.missing_since)

    def down(self, now: float) -> None:
        """Note that the connection is down."""
        if self.is_up:
            self._went_down_at = now
        if self.is_up or self.unused_since is None:
            self.unused_since = now
        self.is_up = self.catching_up = self._held_back = False
        if self.missing_since is None:
            self.missing_since = now

    def received(self, now: float, age: float | None, *, own_connect: bool) -> None:
        """Note a message about an event that happened `age` seconds ago by the wall clock.

        If that was before the connection came up, or is not known, it may be from the queue. AWS
        IoT Core publishes the daemon's own connect too: the age of that event shows how far the
        machine's clock is ahead. The event is about this connect if it is closer to it than the
        connection was down.
        """
        if age is None:
            self._queued.append(now)
            return
        ahead = age - (now - self._connected_at)
        if own_connect and abs(ahead) < self._down_for:
            self._clock_ahead = ahead
        if age - self._clock_ahead > now - self._new_from - _CLOCKS_DIFFER_BY:
            self._queued.append(now)

    def check(self, now: float, *, stalled: bool) -> None:
        """End catching up if almost nothing of the queue has come for some time.

        `stalled` is set if a message has waited so long to be applied or acknowledged that the
        broker may have stopped sending.
        """
        if stalled:
            self._stalled_at = now
        elif self.catching_up and self._queue_is_over(now):
            self.catching_up = self._held_back = False
            self.missing_since = None

    def holds_from(self, now: float) -> float | None:
        """Return the time from which messages may still arrive late.

        None if none can: the connection is up and has caught up, its session is gone, or it never
        had one.
        """
        if self._held_back:
            return self.missing_since
        if self.session_expiry <= 0 or self.missing_since is None:
            return None
        return None if self._has_expired(now) else self.missing_since

    def _queue_is_over(self, now: float) -> bool:
        quiet_for = now - max(self._new_from, self._stalled_at)
        if not self._queued or now - self._queued[-1] >= _QUIET:
            return quiet_for >= _QUIET
        few = len(self._queued) < _FEW or now - self._queued[0] >= _FEW_IN
        return few and quiet_for >= _FEW_IN

    def _has_expired(self, now: float) -> bool:
        return self.unused_since is not None and now - self.unused_since > self.session_expiry

    def _gap(self, now: float, *, resumed: bool) -> Gap | None:
        if self.missing_since is None:
            return None
        seconds = now - self.missing_since
        if self.session_expiry <= 0:
            return Gap(GapReason.CLEAN_SESSION, seconds)
        if self._has_expired(now):
            return Gap(GapReason.SESSION_EXPIRED, seconds)
        return None if resumed else Gap(GapReason.SESSION_LOST, seconds)
