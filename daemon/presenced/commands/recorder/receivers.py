"""Where the messages of a recording come from: MQTT connections, or a source with the same methods.

None of them takes a message from the daemon.
"""

import asyncio
from typing import Protocol

from presenced.settings import Settings
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connections import Connections
from presenced.sources.mqtt.options import mqtt_for_tool, source_options, without_side_effects


class Receiver(Protocol):
    """Fills an inbox between `start` and `stop`; used on the event loop."""

    @property
    def has_connected(self) -> bool:
        """Whether the source has been reached so far."""

    def connects(self) -> int | None:
        """Return how often the source has accepted connections; None while any is not ready."""

    async def start(self, inbox: Inbox) -> None:
        """Begin to receive. Raises CommandError if that cannot succeed."""

    async def finished(self) -> None:
        """Wait until all has been received that there is to receive."""

    async def stop(self) -> None:
        """Receive no more, and close the inbox."""


class MqttReceiver:
    """The connections of the daemon, made beside it. Raises SettingsError."""

    def __init__(self, settings: Settings, duration: float | None) -> None:
        mqtt = mqtt_for_tool(settings, "record")
        options = source_options(settings, mqtt)
        self._transport = mqtt.transport
        self._options = [without_side_effects(each, "record") for each in options]
        self._duration = duration
        self._inbox: Inbox | None = None
        self._connections: Connections | None = None

    @property
    def has_connected(self) -> bool:
        """Whether the broker has accepted any connection so far."""
        statuses = self._connections.statuses if self._connections else []
        return any(any(status.connects.values()) for status in statuses)

    def connects(self) -> int | None:
        """Return how often the broker has accepted connections; None while any is not ready."""
        connections = self._connections
        if connections is None or not connections.statuses or connections.problems:
            return None
        return sum(sum(status.connects.values()) for status in connections.statuses)

    async def start(self, inbox: Inbox) -> None:
        """Begin to connect."""
        self._inbox, self._connections = inbox, Connections(inbox)
        await self._connections.use(self._transport, self._options)

    async def finished(self) -> None:
        """Wait until the duration is over."""
        if self._duration is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._duration)

    async def stop(self) -> None:
        """Disconnect. What arrives meanwhile is not acknowledged."""
        if self._inbox is not None and self._connections is not None:
            self._inbox.close()
            await self._connections.stop()
