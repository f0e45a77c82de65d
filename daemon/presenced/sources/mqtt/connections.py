"""Start, change and stop the MQTT connections of the daemon together."""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal

from presenced.pipeline import Batch
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection import MqttConnection
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.link import Link
from presenced.sources.mqtt.status import ConnectionListener, ConnectionStatus
from presenced.sources.mqtt.traffic import Traffic
from presenced.system.log import get_logger

Transport = Literal["awscrt", "aiomqtt"]

_STOP_WITHIN = 3.0
_connection_of = attrgetter("connection")


def build_source(
    transport: Transport,
    options: ConnectionOptions,
    inbox: Inbox,
    status: ConnectionStatus | None = None,
) -> MqttConnection:
    """Return a source of a transport, with a new status or the given one.

    Called on the event loop. Each library is imported only if it is used: together they double the
    start-up time.
    """
    link: type[Link]
    if transport == "awscrt":
        from presenced.sources.mqtt.awscrt_link import AwscrtLink

        link = AwscrtLink
    else:
        from presenced.sources.mqtt.aiomqtt_link import AiomqttLink

        link = AiomqttLink
    return MqttConnection(link, options, inbox, status)


class Connections:
    """All connections, each with the options that it was built from, filling one inbox.

    `listener` is notified of their changes. `traffic` has what came over each connection, by client
    ID, counted by `observe`.
    """

    def __init__(self, inbox: Inbox, listener: ConnectionListener | None = None) -> None:
        self.traffic: dict[str, Traffic] = {}
        self._inbox = inbox
        self._listener = listener
        self._sources: dict[ConnectionOptions, MqttConnection] = {}
        self._transport: Transport | None = None
        self._log = get_logger("presenced.mqtt")

    @property
    def statuses(self) -> list[ConnectionStatus]:
        """The status of each connection, in the order of the settings."""
        return [source.status for source in self._sources.values()]

    @property
    def problems(self) -> list[str]:
        """Why connections are not ready, one text each."""
        return [
            f"{status.client_id}: {status.problem}"
            for status in self.statuses
            if status.problem is not None
        ]

    def observe(self, batch: Batch) -> None:
        """Count the messages of each connection."""
        for client_id, messages in groupby(batch.messages, _connection_of):
            traffic = self.traffic.get(client_id)
            if traffic is not None:
                traffic.count(list(messages))

    def expect(self, client_ids: Sequence[str], max_message_rate: int | None) -> None:
        """Count the traffic of these connections; known counters continue with the new limit."""
        before = self.traffic
        self.traffic = {name: before.get(name) or Traffic() for name in client_ids}
        for traffic in self.traffic.values():
            traffic.max_message_rate = max_message_rate

    async def use(self, transport: Transport, wanted: Sequence[ConnectionOptions]) -> int:
        """Run exactly the wanted connections; those with the same options continue.

        Returns how many were started. A connection that changes is stopped before its successor
        starts: with the same client ID the broker would disconnect one of the two.
        """
        unchanged = wanted if transport == self._transport else ()
        kept = {o: source for o, source in self._sources.items() if o in unchanged}
        await self._stop([source for o, source in self._sources.items() if o not in kept])
        self._sources = {
            o: kept.get(o) or build_source(transport, o, self._inbox, self._status(o))
            for o in wanted
        }
        self._transport = transport
        started = [source for o, source in self._sources.items() if o not in kept]
        await asyncio.gather(*(source.start() for source in started))
        return len(started)

    def _status(self, options: ConnectionOptions) -> ConnectionStatus:
        """Return the known status of a connection, whose counters continue, or a new one."""
        key = options.client_id, options.filters, options.certified_name
        client_id, filters, endpoint = key
        for status in self.statuses:
            if (status.client_id, status.filters, status.endpoint) == key:
                return status
        return ConnectionStatus(client_id, filters, endpoint=endpoint, listener=self._listener)

    async def renew(self) -> int:
        """Use certificate files that have changed; return how many connections reconnected."""
        return sum(await asyncio.gather(*(source.renew() for source in self._sources.values())))

    async def stop(self) -> None:
        """Disconnect all within 3 seconds."""
        await self._stop(list(self._sources.values()))

    async def _stop(self, sources: Sequence[MqttConnection]) -> None:
        stops = [asyncio.ensure_future(source.stop()) for source in sources]
        if not stops:
            return
        done, late = await asyncio.wait(stops, timeout=_STOP_WITHIN)
        for stop in late:
            stop.cancel()
        for stop in done:
            if (error := stop.exception()) is not None:
                self._log.error("a connection did not stop cleanly", error=repr(error))
        if late:
            self._log.warning("a connection did not stop in time", connections=len(late))
