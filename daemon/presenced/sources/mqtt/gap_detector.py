"""Gaps in what was received, over all connections, and their consequences.

If messages may have been lost, all clients are unverified from then on.
While messages may still arrive late, no deadline that one of them could cancel is due.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from presenced.events.message import Message
from presenced.events.model import Event, LifecycleEvent
from presenced.pipeline import Batch
from presenced.sources.gaps import Gap, GapReason, Gaps
from presenced.sources.mqtt.connection_gap import ConnectionGap
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault
from presenced.sources.mqtt.status import ConnectionListener, ConnectionStatus
from presenced.sources.mqtt.subscriptions import Subscriptions, carries_presence
from presenced.sources.mqtt.traffic import Traffic
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks


class MqttSession(NamedTuple):
    """An MQTT session that a broker may keep; `alive_at` is when it was last in use.

    `subscribed` is `Subscriptions.held`. Messages from `missing_since` on had not arrived; None if
    all had. Times are wall-clock seconds.
    """

    client_id: str
    alive_at: float
    subscribed: Mapping[str, int] | None = None
    missing_since: float | None = None


@dataclass(slots=True)
class _Connection:
    client_id: str
    gap: ConnectionGap
    subscriptions: Subscriptions
    presence: bool = True
    session_expiry: float = 0.0
    dropped: int = 0
    saturated: int = 0
    saturated_since: float | None = None
    at_qos_0: int = 0
    unsubscribed_before: Gap | None = None

    def update_expiry(self) -> None:
        """Treat a session that keeps no lifecycle events as one that is not kept."""
        keeps = self.subscriptions.keeps_presence
        self.gap.session_expiry = self.session_expiry if keeps else 0.0


class GapDetector(ConnectionListener):
    """Watches all MQTT connections and reports to `gaps`. Called on the event loop."""

    def __init__(self, gaps: Gaps, clocks: Clocks) -> None:
        self._gaps = gaps
        self._clocks = clocks
        self._connections: dict[str, _Connection] = {}
        self._earlier: list[MqttSession] = []
        self._log = get_logger("presenced.mqtt")
        self._throttled = ThrottledLogger(self._log)

    def restore(self, sessions: Sequence[MqttSession]) -> None:
        """Continue the sessions of an earlier process; called before `expect`."""
        self._earlier = list(sessions)

    @property
    def sessions(self) -> list[MqttSession]:
        """The sessions of all connections that have been up, to be restored by a later process."""
        now = self._clocks.monotonic()
        offset = self._clocks.wall() - now
        sessions = []
        for client_id, connection in self._connections.items():
            gap, missing = connection.gap, connection.gap.missing_since
            if gap.is_up or missing is not None:
                alive_at = (now if gap.unused_since is None else gap.unused_since) + offset
                since = None if missing is None else missing + offset
                held = connection.subscriptions.held
                sessions.append(MqttSession(client_id, alive_at, held, since))
        return sessions

    @property
    def held_at(self) -> float:
        """The monotonic time after which no deadline is due yet; infinity if none is held back."""
        now = self._clocks.monotonic()
        held = (each.gap.holds_from(now) for each in self._connections.values() if each.presence)
        return min((at for at in held if at is not None), default=math.inf)

    @property
    def catching_up(self) -> list[str]:
        """The client IDs of the connections that still receive queued messages."""
        return [name for name, each in self._connections.items() if each.gap.catching_up]

    @property
    def missing_since(self) -> float | None:
        """From when on messages about clients have not arrived; None if all have.

        In wall-clock time. It lasts over restarts, as the sessions do.
        """
        gaps = [each.gap for each in self._connections.values() if each.presence]
        missing = [gap.missing_since for gap in gaps if gap.missing_since is not None]
        offset = self._clocks.wall() - self._clocks.monotonic()
        return min(missing) + offset if missing else None

    @property
    def warnings(self) -> list[str]:
        """Filters whose events come at QoS 0 though QoS 1 was requested, one text each."""
        return [
            f"{name}: {shortfall}"
            for name, connection in self._connections.items()
            for shortfall in connection.subscriptions.shortfalls.values()
        ]

    def expect(self, options: Sequence[ConnectionOptions]) -> None:
        """Watch exactly these connections; known ones continue."""
        earlier = self.sessions if self._connections else self._earlier
        wanted = {each.client_id for each in options}
        sessions = {session.client_id: session for session in earlier}
        unused = [each for each in earlier if each.client_id not in wanted]
        # A new client ID takes the place of one that is no longer used.
        replaced = max(unused, key=lambda each: each.alive_at, default=None)
        before, self._connections = self._connections, {}
        for each in options:
            connection = before.get(each.client_id)
            if connection is None:
                own = sessions.get(each.client_id)
                gap = self._gap_since(own or replaced)
                subscriptions = Subscriptions(own and own.subscribed)
                connection = _Connection(each.client_id, gap, subscriptions)
            connection.subscriptions.want(each.filters, each.qos)
            # No broker needs to keep messages of QoS 0 (MQTT 5 section 4.1), and AWS's does not.
            kept = each.session_kept and each.qos > 0
            connection.session_expiry = each.session_expiry if kept else 0.0
            connection.update_expiry()
            connection.presence = carries_presence(each.filters) or bool(each.status_filters)
            self._connections[each.client_id] = connection

    def _gap_since(self, session: MqttSession | None) -> ConnectionGap:
        """Return the gap of a new connection since an earlier process used its session, if any."""
        if session is None:
            return ConnectionGap()
        now = self._clocks.monotonic()
        offset = now - self._clocks.wall()
        # Not later than now, even if the clock of the machine was set back.
        unused = min(now, session.alive_at + offset)
        missing = session.missing_since
        since = unused if missing is None else min(unused, missing + offset)
        return ConnectionGap(unused_since=unused, missing_since=since)

    def up(self, client_id: str, *, resumed: bool) -> None:
        """A connection is up; `resumed` is set if the broker had kept its session."""
        connection = self._connections.get(client_id)
        if connection is None:
            return
        gap = connection.gap.up(self._clocks.monotonic(), resumed=resumed)
        connection.subscriptions.up(resumed=resumed, whole=gap is None)
        if gap is not None:
            self._report(connection, gap)

    def down(self, client_id: str) -> None:
        """A connection is down."""
        connection = self._connections.get(client_id)
        if connection is not None:
            connection.gap.down(self._clocks.monotonic())

    def granted(self, client_id: str, topic_filter: str, qos: int) -> None:
        """The broker granted a topic filter at this QoS."""
        connection = self._connections.get(client_id)
        if connection is None:
            return
        if connection.subscriptions.granted(topic_filter, qos):
            # Noted at once, so that the state file never has the filter without the gap.
            self._note_gap(connection, GapReason.FILTERS_CHANGED)
            now = self._clocks.monotonic()
            seconds = now - (connection.gap.missing_since or now)
            connection.unsubscribed_before = Gap(GapReason.FILTERS_CHANGED, seconds)
        connection.update_expiry()
        self._warn_of_qos(connection, connection.subscriptions.shortfalls.get(topic_filter))

    def unwanted(self, client_id: str) -> list[str]:
        """Return the topic filters that the session holds and that are no longer configured."""
        connection = self._connections.get(client_id)
        return connection.subscriptions.unwanted if connection is not None else []

    def unsubscribed(self, client_id: str, topic_filter: str) -> None:
        """The broker ended a subscription."""
        connection = self._connections.get(client_id)
        if connection is not None:
            connection.subscriptions.unsubscribed(topic_filter)

    def hold_back(self, since: float) -> None:
        """Acknowledgements wait on all connections, the oldest since `since`, monotonic seconds."""
        for connection in self._connections.values():
            connection.gap.hold_back(self._clocks.monotonic(), since)

    def observe(self, batch: Batch) -> None:
        """Note the messages that arrive on connections that are catching up."""
        if self.catching_up:
            for message, event in zip(batch.messages, batch.events, strict=True):
                self._observe(message, event)

    def _observe(self, message: Message, event: Event | None) -> None:
        connection = self._connections.get(message.connection)
        if connection is None or not connection.gap.catching_up:
            return
        timestamp, own_connect = event.timestamp if event else None, False
        if isinstance(event, LifecycleEvent):
            timestamp = None if event.untimed else timestamp
            own_connect = event.connected and event.client_id == message.connection
        age = None if timestamp is None else self._clocks.wall() - timestamp / 1000
        connection.gap.received(self._clocks.monotonic(), age, own_connect=own_connect)

    def check(
        self, statuses: Sequence[ConnectionStatus], traffic: Mapping[str, Traffic], *, stalled: bool
    ) -> None:
        """Report gaps that the counters show, and end catching up; see `ConnectionGap.check`."""
        now = self._clocks.monotonic()
        for status in statuses:
            connection = self._connections.get(status.client_id)
            if connection is None:
                continue
            counted = traffic[status.client_id]
            was_catching_up = connection.gap.catching_up
            connection.gap.check(now, stalled=stalled)
            if was_catching_up and not connection.gap.catching_up:
                self._log.info("caught up with queued messages", connection=status.client_id)
            if status.messages_dropped > connection.dropped:
                self._report(connection, Gap(GapReason.BACKLOG_FULL, 0.0))
            connection.dropped = status.messages_dropped
            self._check_saturation(connection, counted, now)
            gap, connection.unsubscribed_before = connection.unsubscribed_before, None
            if gap is not None:  # one gap for all filters granted since the last check
                self._report(connection, gap)
            at_qos_0, subscriptions = counted.lifecycle_at_qos_0, connection.subscriptions
            if at_qos_0 > connection.at_qos_0 and subscriptions.received_at_qos_0():
                connection.update_expiry()
                for shortfall in subscriptions.shortfalls.values():
                    self._warn_of_qos(connection, shortfall)
            connection.at_qos_0 = at_qos_0

    def _check_saturation(self, connection: _Connection, traffic: Traffic, now: float) -> None:
        """Report consecutive seconds at the rate limit as one gap, at their end."""
        if traffic.saturated_seconds > connection.saturated:
            connection.saturated = traffic.saturated_seconds
            self._note_gap(connection, GapReason.RATE_LIMIT)
            if connection.saturated_since is None:
                connection.saturated_since = now
        elif connection.saturated_since is not None and not traffic.is_saturated(now):
            gap = Gap(GapReason.RATE_LIMIT, now - connection.saturated_since)
            connection.saturated_since = None
            self._report(connection, gap)

    def _warn_of_qos(self, connection: _Connection, shortfall: Fault | None) -> None:
        if shortfall is not None:
            self._throttled.warning(
                "events come at QoS 0",
                key=(connection.client_id, shortfall),
                connection=connection.client_id,
                detail=shortfall.detail,
                remedy=shortfall.remedy,
            )

    def _report(self, connection: _Connection, gap: Gap) -> None:
        self._gaps.report(connection.client_id, gap, presence=connection.presence)

    def _note_gap(self, connection: _Connection, reason: GapReason) -> None:
        if connection.presence:
            self._gaps.note(connection.client_id, reason)
