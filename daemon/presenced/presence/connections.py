"""The connections of a client whose events have no version, by sessions and event times.

A copy of a message has the same event time, so two connects with different event times are two
connections, even of one session. A disconnect ends the last connect of its session that is not
stamped after it, unless another disconnect has ended that long before. The connection with the
latest event time is the one that stands, until its disconnect arrives: the disconnect of a
connection that another one replaced changes nothing, however late it is stamped. The disconnect of
a session without a known connect counts by its event time.

All this follows from the set of messages, not from the order in which they arrived; that decides
only between equal event times.
"""

from collections.abc import Iterator, Sequence

from presenced.presence.client import EventStamp
from presenced.presence.ordering import same_connection


class ConnectionHistory:
    """The connections that a set of messages tells of, in the order of receipt.

    `slack` is how far apart event times must be to be certain, in milliseconds. `last` is the
    message that decides the state.
    """

    def __init__(self, messages: Sequence[EventStamp], slack: int) -> None:
        self._messages = messages
        self._slack = slack
        # Sorting keeps the order of receipt between equal event times.
        self._connects = sorted((m for m in messages if m.connected), key=_timestamp)
        self._ended: dict[EventStamp, EventStamp | None] = {}
        for message in sorted(messages, key=_timestamp):
            if not message.connected:
                self._ended[message] = self._connect_ended_by(message)
        self.last = self._last()

    def has_end_like(self, disconnect: EventStamp) -> bool:
        """Return whether there is another disconnect of the connection that this one ends."""
        if disconnect.session is None:
            return False
        connect = self._connect_ended_by(disconnect)
        return any(
            ended == connect
            and same_connection(disconnect, other)
            and abs(disconnect.timestamp - other.timestamp) <= self._slack
            for other, ended in self._ended.items()
        )

    def needed(self, limit: int) -> list[EventStamp]:
        """Return the messages that later ones must be compared with, at most about `limit`.

        A connection is needed until its disconnect has arrived; after that, and the disconnect of
        an unknown one, for as long as it could be later than the latest connect. The messages of
        one connection are kept together.
        """
        oldest = self._connects[-1].timestamp - self._slack if self._connects else None
        # The connection before an unmatched disconnect shows that this does not end a later one.
        before_ends = {
            earlier[-1]
            for end, ended in self._ended.items()
            if ended is None and (earlier := self._own(end, until=end.timestamp))
        }
        groups = [
            group
            for group in self._groups()
            if oldest is None
            or (len(group) == 1 and group[0].connected and group[0].session is not None)
            or any(message.timestamp >= oldest for message in group)
            or not before_ends.isdisjoint(group)
        ]
        groups.sort(key=lambda group: (self.last in group, max(map(_timestamp, group))))
        kept: set[EventStamp] = set()
        while groups and len(kept) < limit:
            kept.update(groups.pop())
        return [message for message in self._messages if message in kept]

    def _groups(self) -> Iterator[list[EventStamp]]:
        """Yield the messages of each connection; a disconnect without a connect is a group."""
        for connect in self._connects:
            yield [connect, *(end for end, ended in self._ended.items() if ended == connect)]
        for end, ended in self._ended.items():
            if ended is None:
                yield [end]

    def _last(self) -> EventStamp:
        position = {message: number for number, message in enumerate(self._messages)}
        latest = self._connects[-1] if self._connects else None
        ends = []
        for end, ended in self._ended.items():
            if latest is None or ended == latest:
                ends.append(end)
            elif ended is None:
                by_time = (end.timestamp, position[end]) >= (latest.timestamp, position[latest])
                ends += [end] * by_time
        if latest is not None and not ends:
            return latest
        return max(ends, key=lambda end: (end.timestamp, position[end]))

    def _connect_ended_by(self, disconnect: EventStamp) -> EventStamp | None:
        """Return the connect of the connection that a disconnect ends, None if it is not known.

        Event times may be wrong: a disconnect may be stamped up to `slack` before its connect.
        """
        own = self._own(disconnect, until=disconnect.timestamp + self._slack)
        before = [connect for connect in own if connect.timestamp <= disconnect.timestamp]
        if not own:
            return None
        connect = before[-1] if before else own[0]
        ends = (end.timestamp for end, ended in self._ended.items() if ended == connect)
        first = min(ends, default=disconnect.timestamp)
        return connect if disconnect.timestamp - first <= self._slack else None

    def _own(self, disconnect: EventStamp, *, until: int) -> list[EventStamp]:
        """Return the connects of a disconnect's session stamped until then, in their order."""
        return [
            connect
            for connect in self._connects
            if None not in (connect.session, disconnect.session)
            and connect.timestamp <= until
            and same_connection(connect, disconnect)
        ]


def _timestamp(message: EventStamp) -> int:
    return message.timestamp
