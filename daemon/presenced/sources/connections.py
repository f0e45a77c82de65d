"""The MQTT connections of the daemon, as one thing that starts, changes and stops.

Chooses the transport.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal

from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.link import Link
from presenced.sources.mqtt.mqtt_source import MqttSource
from presenced.sources.source import Source, SourceOptions, Timings
from presenced.sources.status import ConnectionListener, ConnectionStatus
from presenced.system.log import get_logger


def build_source(
    transport: Literal["awscrt", "aiomqtt"],
    options: SourceOptions,
    inbox: Inbox,
    status: ConnectionStatus | None = None,
    timings: Timings | None = None,
) -> Source:
    """Return a source of the named transport, with a new status or the given one.

    To be called on the event loop. Each library is imported only where it is used: together they
    double the start-up time.
    """
    link: type[Link]
    if transport == "awscrt":
        from presenced.sources.mqtt.awscrt_link import AwscrtLink

        link = AwscrtLink
    else:
        from presenced.sources.mqtt.aiomqtt_link import AiomqttLink

        link = AiomqttLink
    return MqttSource(link, options, inbox, status, timings)


Transport = Literal["awscrt", "aiomqtt"]

_STOP_WITHIN = 3.0


class Connections:
    """All connections, each with the options that it was made of, filling one inbox.

    `listener` is told of each that comes up or goes down.
    """

    def __init__(self, inbox: Inbox, listener: ConnectionListener | None = None) -> None:
        self._inbox = inbox
        self._listener = listener
        self._sources: list[tuple[Transport, SourceOptions, Source]] = []
        self._log = get_logger("presenced.mqtt")

    @property
    def statuses(self) -> list[ConnectionStatus]:
        """What is known of each connection, in the order of the settings."""
        return [source.status for _, _, source in self._sources]

    @property
    def problems(self) -> list[str]:
        """Why connections are not ready, one text each; empty when all are."""
        return [
            f"{status.client_id}: {status.problem}"
            for status in self.statuses
            if status.problem is not None
        ]

    async def use(self, transport: Transport, wanted: Sequence[SourceOptions]) -> int:
        """Have exactly the wanted connections; those that are there already stay as they are.

        Returns how many were begun anew. One that changes is stopped before its successor starts:
        with the same client ID they would throw each other out.
        """
        kept = {options: source for kind, options, source in self._sources if kind == transport}
        await self._stop([s for _, o, s in self._sources if o not in wanted or o not in kept])
        # What has been counted of a connection goes on counting.
        statuses = {(s.client_id, s.filters, s.endpoint): s for s in self.statuses}
        self._sources = [
            (
                transport,
                options,
                kept.get(options)
                or build_source(
                    transport,
                    options,
                    self._inbox,
                    statuses.get((options.client_id, options.filters, options.endpoint))
                    or self._status(options),
                ),
            )
            for options in wanted
        ]
        fresh = [source for _, options, source in self._sources if options not in kept]
        await asyncio.gather(*(source.start() for source in fresh))
        return len(fresh)

    def _status(self, options: SourceOptions) -> ConnectionStatus:
        return ConnectionStatus(
            options.client_id,
            options.filters,
            endpoint=options.endpoint,
            listener=self._listener,
        )

    async def renew(self) -> int:
        """Take certificate files that changed and are complete; returns how many reconnected."""
        return sum(await asyncio.gather(*(source.renew() for _, _, source in self._sources)))

    async def stop(self) -> None:
        """Disconnect all, within some seconds."""
        await self._stop([source for _, _, source in self._sources])

    async def _stop(self, sources: Sequence[Source]) -> None:
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
