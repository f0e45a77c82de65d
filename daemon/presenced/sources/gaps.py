"""Whether one MQTT connection has missed something, and whether it has made up for it. Pure.

Lifecycle events are not retained: what is published while a connection is down reaches it only by a
persistent session, whose queue the broker sends when the connection is back (MQTT 5 section 4.4).
Nothing in MQTT tells where that queue ends and new messages begin, and new ones may overtake it:
AWS IoT Core sends what it stored at 10 messages a second, and all else as it comes (AWS IoT Core
endpoints and quotas). `now` is monotonic seconds; there is no other clock, so that it does not
matter when that of the machine is set.

Which topic filters one MQTT session holds, and which of their messages it keeps. Pure.

A session keeps its subscriptions while the client is away, also those that the client's
configuration no longer names (MQTT 5 section 4.1). Of a filter's messages it keeps those that came
after the first SUBSCRIBE, at QoS 1.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from presenced.sources.faults import Shortfall, granted_qos_0, published_at_qos_0

_QUIET = 2.0
# A queue sends more than these few in that time; a fleet has events that come late now and then.
_FEW, _FEW_IN = 3, 6.0
_CLOCKS_DIFFER_BY = 1.0


class GapReason(StrEnum):
    """Why messages may have been lost."""

    SESSION_LOST = "session_lost"
    SESSION_EXPIRED = "session_expired"
    CLEAN_SESSION = "clean_session"
    FILTERS_CHANGED = "filters_changed"
    RATE_LIMIT = "rate_limit"
    BACKLOG_FULL = "backlog_full"


class Gap(NamedTuple):
    """A time in which messages may have been lost, and how long it was, in seconds."""

    reason: GapReason
    seconds: float


class ConnectionGap:
    """The times in which one connection was down, or behind.

    `session_expiry` 0 is a clean session. `absent_for` is how long ago an earlier process had this
    session in use, None where there was none, and `missing_for` since when something of it had been
    missing then, where that is longer; in seconds.

    While it is down, and then until the resumed session's queue has been received, something from
    `missing_since` on may be known to the broker and not yet here. `unused_since` is when it was
    last up, as long as it is down: a broker counts the expiry from there (MQTT 5 section
    3.1.2.11.2).
    """

    def __init__(
        self,
        session_expiry: float,
        *,
        absent_for: float | None,
        now: float,
        missing_for: float = 0.0,
    ) -> None:
        self.session_expiry = session_expiry
        self.is_up = False
        self.catching_up = False
        self.unused_since: float | None = None if absent_for is None else now - absent_for
        self.missing_since: float | None = None
        if absent_for is not None:
            self.missing_since = now - max(absent_for, missing_for)
        self._held_back = False
        self._connected_at = 0.0
        self._new_from = 0.0
        self._stalled_at = 0.0
        self._went_down_at: float | None = None
        self._away = 0.0
        self._clock_ahead = 0.0
        self._queued: deque[float] = deque(maxlen=_FEW)

    def up(self, now: float, *, resumed: bool) -> Gap | None:
        """The connection is up; what may have been lost."""
        gap = self._gap(now, resumed=resumed)
        self.is_up, self.catching_up, self._held_back = True, resumed, False
        self._connected_at = self._new_from = now
        self._away = 0.0 if self._went_down_at is None else now - self._went_down_at
        self._clock_ahead = 0.0
        self.unused_since = None
        if not resumed:
            self.missing_since = None
        elif self.missing_since is None:
            self.missing_since = now
        return gap

    def hold_back(self, now: float, since: float) -> None:
        """Acknowledgements wait, the oldest since `since`: the broker may be sending no more.

        What it holds back comes when they have gone out, as a session's queue does.
        """
        if not self.is_up:
            return
        self.catching_up = self._held_back = True
        self._new_from = now
        self.missing_since = since if self.missing_since is None else min(since, self.missing_since)

    def down(self, now: float) -> None:
        """The connection is down."""
        if self.is_up:
            self._went_down_at = now
        if self.is_up or self.unused_since is None:
            self.unused_since = now
        self.is_up = self.catching_up = self._held_back = False
        if self.missing_since is None:
            self.missing_since = now

    def heard(self, now: float, age: float | None, *, own_connect: bool) -> None:
        """A message was received, an event that happened `age` seconds ago by the wall clock.

        One that happened before the connection came up, or of which nobody knows when, may be of
        the queue. AWS IoT Core publishes the daemon's own connect, too: what its clock says of that
        moment shows how far the machine's is ahead or behind. A connect less long before this one
        than the connection was down is this one.
        """
        if age is None:
            self._queued.append(now)
            return
        ahead = age - (now - self._connected_at)
        if own_connect and abs(ahead) < self._away:
            self._clock_ahead = ahead
        if age - self._clock_ahead > now - self._new_from - _CLOCKS_DIFFER_BY:
            self._queued.append(now)

    def look(self, now: float, *, stalled: bool) -> None:
        """See whether the queue must be over, because for some time next to nothing of it has come.

        `stalled` says whether a message has not been applied or acknowledged for so long that the
        broker may be sending no more for want of it.
        """
        if stalled:
            self._stalled_at = now
        elif self.catching_up and self._is_over(now):
            self.catching_up = self._held_back = False
            self.missing_since = None

    def _is_over(self, now: float) -> bool:
        quiet_for = now - max(self._new_from, self._stalled_at)
        if not self._queued or now - self._queued[-1] >= _QUIET:
            return quiet_for >= _QUIET
        few = len(self._queued) < _FEW or now - self._queued[0] >= _FEW_IN
        return few and quiet_for >= _FEW_IN

    def holds_from(self, now: float) -> float | None:
        """From when on nothing may be concluded yet from something not having come.

        None where all has come that will come: the connection is up and has caught up, or its
        session is gone, or it never had any.
        """
        if self._held_back:
            return self.missing_since
        if self.session_expiry <= 0 or self.missing_since is None:
            return None
        return None if self._has_expired(now) else self.missing_since

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


_PRESENCE = ("$aws", "events", "presence")


class Subscriptions:
    """The topic filters of one connection's session.

    `held` has those that the broker knows, each with the QoS at which its messages come; None where
    nothing is known of them. `shortfalls` tells of the wanted filters whose lifecycle events
    come at QoS 0 though QoS 1 was asked for.
    """

    def __init__(self, held: Mapping[str, int] | None = None) -> None:
        self.held = None if held is None else dict(held)
        self.shortfalls: dict[str, Shortfall] = {}
        self._wanted: Sequence[str] = ()
        self._qos = 1
        self._before: dict[str, int] | None = None

    def want(self, filters: Sequence[str], qos: int) -> None:
        """Be about these filters from now on, and the QoS that is asked for."""
        self._wanted, self._qos = filters, qos
        self.shortfalls = {each: why for each, why in self.shortfalls.items() if each in filters}

    @property
    def keeps_presence(self) -> bool:
        """Whether, as far as is known, lifecycle events are kept while the client is away."""
        held = self.held or {}
        return all(held.get(each, 1) > 0 for each in self._wanted if carries_presence([each]))

    @property
    def unwanted(self) -> list[str]:
        """The filters that the session holds and that are not to be subscribed any more."""
        return [each for each in self.held or () if each not in self._wanted]

    def up(self, *, resumed: bool, whole: bool) -> None:
        """A connection is up; `whole` says whether the session has kept all that it held."""
        if not resumed:
            self.held = None
        self._before = dict(self.held) if self.held is not None and resumed and whole else None

    def granted(self, topic_filter: str, qos: int) -> bool:
        """The broker granted a filter; whether its lifecycle events have been missed until now."""
        presence = carries_presence([topic_filter])
        missed = (
            presence
            and self._before is not None
            and not any(kept and covers(each, topic_filter) for each, kept in self._before.items())
        )
        self.held = {**(self.held or {}), topic_filter: qos}
        if presence and qos < self._qos:
            self.shortfalls[topic_filter] = granted_qos_0(topic_filter)
        else:
            self.shortfalls.pop(topic_filter, None)
        return missed

    def unsubscribed(self, topic_filter: str) -> None:
        """The session does not hold a filter any more, nor has it what comes from now on."""
        for filters in (self.held, self._before):
            if filters is not None:
                filters.pop(topic_filter, None)

    def came_at_qos_0(self) -> bool:
        """A lifecycle event came at QoS 0; whether that is news."""
        held = self.held or {}
        fallen = [each for each in self._wanted if carries_presence([each]) and held.get(each)]
        for each in fallen:
            self.shortfalls[each] = published_at_qos_0(each)
        self.held = {**held, **dict.fromkeys(fallen, 0)}
        return bool(fallen)


def carries_presence(filters: Sequence[str]) -> bool:
    """Whether lifecycle events match one of the topic filters (MQTT 5 section 4.7)."""
    return any(_may_match(_levels(topic_filter)) for topic_filter in filters)


def covers(wide: str, narrow: str) -> bool:
    """Whether each message that `narrow` brings comes by `wide`, too (MQTT 5 section 4.7).

    A shared subscription brings a part of its messages, so that it covers nothing but itself.
    """
    if wide == narrow:
        return True
    if wide.startswith("$share/"):
        return False
    levels, others = wide.split("/"), _levels(narrow)
    if levels[0] in ("+", "#") and others[0].startswith("$"):
        return False
    for place, level in enumerate(levels):
        if level == "#":
            return True
        if place == len(others) or others[place] == "#" or level not in ("+", others[place]):
            return False
    return len(levels) == len(others)


def _levels(topic_filter: str) -> list[str]:
    levels = topic_filter.split("/")
    return levels[2:] if levels[0] == "$share" else levels


def _may_match(levels: list[str]) -> bool:
    for level, wanted in zip(levels, _PRESENCE, strict=False):
        if level == "#":
            return True
        if level not in ("+", wanted):
            return False
    return len(levels) > len(_PRESENCE) or levels[-1] == "#"
