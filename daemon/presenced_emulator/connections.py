"""The connection of each client, as AWS IoT Core remembers it: the present one or the last one.

Pure: times are arguments, in seconds since the epoch.
"""

from typing import NamedTuple

from presenced_emulator.lifecycle import Connection, DisconnectReason

DEFAULT_KEEP_ALIVE = 60


class ConnectionRecord(NamedTuple):
    """A connection and its state since `since`; `reason` is why it ended, None while it lasts."""

    connection: Connection
    since: float
    keep_alive: int
    clean_session: bool
    reason: DisconnectReason | None = None

    @property
    def connected(self) -> bool:
        """Whether the client is connected."""
        return self.reason is None


class ConnectionTable:
    """The latest connection of each client ID, and the subscriptions of its session."""

    def __init__(self) -> None:
        self._records: dict[str, ConnectionRecord] = {}
        self._subscriptions: dict[str, dict[str, int]] = {}

    def open(
        self,
        connection: Connection,
        now: float,
        *,
        keep_alive: int = DEFAULT_KEEP_ALIVE,
        clean_session: bool = True,
    ) -> None:
        """Record a connect. A clean session begins without subscriptions."""
        client_id = connection.client_id
        self._records[client_id] = ConnectionRecord(connection, now, keep_alive, clean_session)
        if clean_session:
            self._subscriptions.pop(client_id, None)

    def close(self, connection: Connection, reason: DisconnectReason, now: float) -> None:
        """Record the end of a connection, unless another one has taken over since."""
        client_id = connection.client_id
        record = self._records.get(client_id)
        if record is None or record.connection != connection:
            return
        self._records[client_id] = record._replace(since=now, reason=reason)
        if record.clean_session:
            self._subscriptions.pop(client_id, None)

    def subscribe(self, client_id: str, topic_filter: str, qos: int) -> None:
        """Record a granted subscription."""
        self._subscriptions.setdefault(client_id, {})[topic_filter] = qos

    def unsubscribe(self, client_id: str, topic_filter: str) -> None:
        """Record the end of a subscription."""
        self._subscriptions.get(client_id, {}).pop(topic_filter, None)

    def get(self, client_id: str) -> ConnectionRecord | None:
        """Return the latest connection of a client, None if it has never connected."""
        return self._records.get(client_id)

    @property
    def connected(self) -> frozenset[str]:
        """The clients that are connected; during a takeover one still is."""
        records = self._records.items()
        return frozenset(client_id for client_id, record in records if record.connected)

    def ended_since(self, moment: float) -> frozenset[str]:
        """Return the clients that are not connected since a moment, or since later."""
        records = self._records.items()
        return frozenset(
            client_id
            for client_id, record in records
            if not record.connected and record.since >= moment
        )

    def subscriptions(self, client_id: str) -> dict[str, int]:
        """Return the topic filters of a client's session and their QoS."""
        return dict(self._subscriptions.get(client_id, {}))
