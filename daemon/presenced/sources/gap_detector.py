"""Whether all that was published has been received, over all connections; and what follows if not.

Presence is only as good as what was received. Where something may have been lost, the clients that
are online or pending are unverified from then on; where something may still come, no deadline that
it could cancel is due.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from presenced.events import Event, LifecycleEvent
from presenced.events.message import Message
from presenced.pipeline import Traffic
from presenced.presence import Presence
from presenced.sources.faults import Shortfall
from presenced.sources.gaps import ConnectionGap, Gap, GapReason, Subscriptions, carries_presence
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks


class Session(NamedTuple):
    """An MQTT session that a broker may keep: last in use when, by the wall clock.

    `subscribed` is `Subscriptions.held`. `missing_since` is from when on something of it was
    missing then, None where nothing was.
    """

    client_id: str
    alive_at: float
    subscribed: Mapping[str, int] | None = None
    missing_since: float | None = None


class LastGap(NamedTuple):
    """The gap that leaves clients unverified: of which connection, why, and when, epoch seconds."""

    connection: str
    reason: GapReason
    at: float


@dataclass(slots=True)
class _Connection:
    connection_gap: ConnectionGap
    presence: bool
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    session_expiry: float = 0.0
    dropped: int = 0
    saturated: int = 0
    saturated_since: float | None = None
    at_qos_0: int = 0
    unsubscribed_before: Gap | None = None

    def judge_session(self) -> None:
        """Take a session that keeps no lifecycle events for one that is not kept."""
        keeps = self.subscriptions.keeps_presence
        self.connection_gap.session_expiry = self.session_expiry if keeps else 0.0


class GapDetector:
    """Watches over all MQTT connections. To be used on the event loop.

    `gaps` counts the gaps by reason. `held_at` is the monotonic time after which no deadline may
    be due yet, infinity where none is held; `on_hold` is told when it has changed. `last_gap` is
    the last one in which lifecycle events may have been lost, None before there was one.
    """

    def __init__(
        self, presence: Presence, clocks: Clocks, on_hold: Callable[[float], None] = lambda _: None
    ) -> None:
        self.gaps = dict.fromkeys(GapReason, 0)
        self.held_at = math.inf
        self.last_gap: LastGap | None = None
        self._presence = presence
        self._clocks = clocks
        self._on_hold = on_hold
        self._connections: dict[str, _Connection] = {}
        self._earlier: list[Session] = []
        self._log = get_logger("presenced.mqtt")
        self._throttled = ThrottledLogger(self._log)

    def remember(self, sessions: Sequence[Session]) -> None:
        """Know the sessions of an earlier process; to be called before `expect`."""
        self._earlier = list(sessions)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of all connections that have been up, for a later process."""
        now = self._clocks.monotonic()
        offset = self._clocks.wall() - now
        return [
            Session(
                client_id,
                (now if connection_gap.unused_since is None else connection_gap.unused_since)
                + offset,
                connection.subscriptions.held,
                None
                if connection_gap.missing_since is None
                else connection_gap.missing_since + offset,
            )
            for client_id, connection in self._connections.items()
            if (connection_gap := connection.connection_gap).is_up
            or connection_gap.missing_since is not None
        ]

    @property
    def catching_up(self) -> list[str]:
        """The client IDs of the connections that still receive what was published meanwhile."""
        return [name for name, each in self._connections.items() if each.connection_gap.catching_up]

    @property
    def warnings(self) -> list[str]:
        """What is worse than it was asked for on connections that work, one text each."""
        return [
            f"{name}: {shortfall}"
            for name, connection in self._connections.items()
            for shortfall in connection.subscriptions.shortfalls.values()
        ]

    def expect(self, options: Sequence[SourceOptions]) -> None:
        """Watch over exactly these connections; those known already go on as they are."""
        earlier = self.sessions if self._connections else self._earlier
        wanted = {each.client_id for each in options}
        sessions = {session.client_id: session for session in earlier}
        gone = [each for each in earlier if each.client_id not in wanted]
        last_gone = max(gone, key=lambda each: each.alive_at, default=None)
        before, self._connections = self._connections, {}
        for each in options:
            connection = before.get(each.client_id)
            if connection is None:
                own = sessions.get(each.client_id)
                connection = self._begin(own or last_gone)
                connection.subscriptions = Subscriptions(own and own.subscribed)
            connection.subscriptions.want(each.filters, each.qos)
            # No broker needs to keep messages of QoS 0 (MQTT 5 section 4.1), and AWS's does not.
            kept = each.session_kept and each.qos > 0
            connection.session_expiry = each.session_expiry if kept else 0.0
            connection.judge_session()
            connection.presence = carries_presence(each.filters)
            self._connections[each.client_id] = connection
        self._hold()

    def _begin(self, session: Session | None) -> _Connection:
        """A new connection, in place of one that had an MQTT session, if any.

        That was one of the same client ID, or where there was none, one whose ID is used no longer.
        """
        now = self._clocks.monotonic()
        if session is None:
            return _Connection(ConnectionGap(0.0, absent_for=None, now=now), presence=True)
        wall = self._clocks.wall()
        connection_gap = ConnectionGap(
            0.0,
            absent_for=max(0.0, wall - session.alive_at),
            now=now,
            missing_for=0.0 if session.missing_since is None else wall - session.missing_since,
        )
        return _Connection(connection_gap, presence=True)

    def up(self, client_id: str, *, resumed: bool) -> None:
        """A connection is up; `resumed` says whether the broker had kept its session."""
        connection = self._connections.get(client_id)
        if connection is None:
            return
        gap = connection.connection_gap.up(self._clocks.monotonic(), resumed=resumed)
        connection.subscriptions.up(resumed=resumed, whole=gap is None)
        if gap is not None:
            self._note(client_id, connection, gap)
        self._hold()

    def granted(self, client_id: str, topic_filter: str, qos: int) -> None:
        """The broker granted a topic filter at this QoS."""
        connection = self._connections.get(client_id)
        if connection is None:
            return
        if connection.subscriptions.granted(topic_filter, qos):
            reason = GapReason.FILTERS_CHANGED
            self._doubt(
                client_id, connection, reason
            )  # at once, lest the filter be stored, not this
            now = self._clocks.monotonic()
            seconds = now - (connection.connection_gap.missing_since or now)
            connection.unsubscribed_before = Gap(reason, seconds)
        connection.judge_session()
        self._warn_of_qos(client_id, connection.subscriptions.shortfalls.get(topic_filter))

    def unwanted(self, client_id: str) -> list[str]:
        """The topic filters of the connection's session that it is to unsubscribe from."""
        connection = self._connections.get(client_id)
        return connection.subscriptions.unwanted if connection is not None else []

    def unsubscribed(self, client_id: str, topic_filter: str) -> None:
        """The broker has ended a subscription."""
        connection = self._connections.get(client_id)
        if connection is not None:
            connection.subscriptions.unsubscribed(topic_filter)

    def hold_back(self, since: float) -> None:
        """Acknowledgements wait on all connections, the oldest since the monotonic time `since`."""
        for connection in self._connections.values():
            connection.connection_gap.hold_back(self._clocks.monotonic(), since)
        self._hold()

    def down(self, client_id: str) -> None:
        """A connection is down."""
        connection = self._connections.get(client_id)
        if connection is not None:
            connection.connection_gap.down(self._clocks.monotonic())
            self._hold()

    def heard(self, message: Message, event: Event | None) -> None:
        """A message came; `event` None says that it is none. Needed while `catching_up` has any."""
        connection = self._connections.get(message.connection)
        if connection is None or not connection.connection_gap.catching_up:
            return
        timestamp = None if event is None else event.timestamp
        if isinstance(event, LifecycleEvent) and event.untimed:
            timestamp = None
        age = None if timestamp is None else self._clocks.wall() - timestamp / 1000
        own_connect = (
            isinstance(event, LifecycleEvent)
            and event.connected
            and event.client_id == message.connection
        )
        connection.connection_gap.heard(self._clocks.monotonic(), age, own_connect=own_connect)

    def look(
        self,
        statuses: Sequence[ConnectionStatus],
        traffic: Mapping[str, Traffic],
        *,
        stalled: bool,
    ) -> None:
        """See what follows from time, and from what the connections have counted.

        `stalled` as in `ConnectionGap.look`.
        """
        now = self._clocks.monotonic()
        for status in statuses:
            connection = self._connections.get(status.client_id)
            if connection is None:
                continue
            counted = traffic.get(status.client_id) or Traffic()
            connection_gap = connection.connection_gap
            was_catching_up = connection_gap.catching_up
            connection_gap.look(now, stalled=stalled)
            if was_catching_up and not connection_gap.catching_up:
                self._tell_caught_up(status.client_id)
            self._look_for_drops(status, connection)
            self._look_for_saturation(status.client_id, connection, counted, now)
            self._look_for_new_filters(status.client_id, connection)
            self._look_for_qos_0(status.client_id, connection, counted)
        self._hold()

    def _look_for_drops(self, status: ConnectionStatus, connection: _Connection) -> None:
        before, connection.dropped = connection.dropped, status.messages_dropped
        if connection.dropped > before:
            self._note(status.client_id, connection, Gap(GapReason.BACKLOG_FULL, 0.0))

    def _look_for_saturation(
        self, client_id: str, connection: _Connection, traffic: Traffic, now: float
    ) -> None:
        """Take seconds at the rate limit that follow one another for one gap, told at its end."""
        if traffic.saturated_seconds > connection.saturated:
            connection.saturated = traffic.saturated_seconds
            self._doubt(client_id, connection, GapReason.RATE_LIMIT)
            if connection.saturated_since is None:
                connection.saturated_since = now
        elif connection.saturated_since is not None and not traffic.is_saturated(now):
            gap = Gap(GapReason.RATE_LIMIT, now - connection.saturated_since)
            connection.saturated_since = None
            self._note(client_id, connection, gap)

    def _look_for_new_filters(self, client_id: str, connection: _Connection) -> None:
        """Take all filters that were granted meanwhile for one gap."""
        gap, connection.unsubscribed_before = connection.unsubscribed_before, None
        if gap is not None:
            self._note(client_id, connection, gap)

    def _look_for_qos_0(self, client_id: str, connection: _Connection, traffic: Traffic) -> None:
        before, connection.at_qos_0 = connection.at_qos_0, traffic.lifecycle_at_qos_0
        if traffic.lifecycle_at_qos_0 > before and connection.subscriptions.came_at_qos_0():
            connection.judge_session()
            for shortfall in connection.subscriptions.shortfalls.values():
                self._warn_of_qos(client_id, shortfall)

    def _warn_of_qos(self, client_id: str, shortfall: Shortfall | None) -> None:
        if shortfall is not None:
            self._throttled.warning(
                "events come at QoS 0",
                key=(client_id, shortfall),
                connection=client_id,
                detail=shortfall.detail,
                remedy=shortfall.remedy,
            )

    def _note(self, client_id: str, connection: _Connection, gap: Gap) -> None:
        self.gaps[gap.reason] += 1
        self._doubt(client_id, connection, gap.reason)
        self._log.warning(
            "events may have been lost",
            connection=client_id,
            reason=gap.reason.value,
            gap_seconds=round(gap.seconds, 1),
            unverified=self._presence.counts.unverified,
        )

    def _doubt(self, client_id: str, connection: _Connection, reason: GapReason) -> None:
        if connection.presence:
            at = self._clocks.wall()
            self.last_gap = LastGap(client_id, reason, at)
            self._presence.doubt(at)

    def _tell_caught_up(self, client_id: str) -> None:
        self._log.info("caught up with what was published meanwhile", connection=client_id)
        self._hold()

    def _hold(self) -> None:
        now = self._clocks.monotonic()
        held = [
            at
            for each in self._connections.values()
            if each.presence and (at := each.connection_gap.holds_from(now)) is not None
        ]
        held_at = min(held, default=math.inf)
        if held_at != self.held_at:
            self.held_at = held_at
            self._on_hold(held_at)
