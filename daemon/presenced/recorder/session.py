"""From messages to lines that are written, and then to acknowledgements."""

import asyncio
from collections.abc import Callable, Sequence

from presenced.connections import Connections, Transport
from presenced.mqtt.inbox import Inbox
from presenced.mqtt.message import Message
from presenced.mqtt.recording import recording_line
from presenced.mqtt.source import SourceOptions
from presenced.recorder.files import RecordingError, RecordingFiles

__all__ = ["Session"]


class Session:
    """Records what arrives on connections, to be built and run on the event loop.

    `change` is what becomes of each message before it is written. A message is acknowledged once
    it is with the operating system.
    """

    def __init__(self, files: RecordingFiles, change: Callable[[Message], Message]) -> None:
        self.messages = 0
        self._files = files
        self._change = change
        self._failure: RecordingError | None = None
        self._ended = asyncio.Event()
        self._inbox = Inbox(asyncio.get_running_loop(), self._deliver)
        self._connections = Connections(self._inbox)

    @property
    def connected(self) -> bool:
        """Whether any connection has been accepted up to now."""
        return any(any(status.connects.values()) for status in self._connections.statuses)

    @property
    def problems(self) -> list[str]:
        """Why connections are not ready, one text each."""
        return self._connections.problems

    async def run(self, transport: Transport, options: Sequence[SourceOptions]) -> None:
        """Record until cancelled. Raises RecordingError where nothing can be written any more."""
        try:
            await self._connections.use(transport, options)
            await self._ended.wait()
        finally:
            self._inbox.close()
            await self._connections.stop()
            # Also where what came last could not be written.
            if self._failure is not None:
                raise self._failure

    def _deliver(self, batch: list[Message]) -> None:
        if self._failure is not None:
            return  # unacknowledged, the broker keeps the rest
        try:
            self._files.write(recording_line(self._change(message)) for message in batch)
        except RecordingError as error:
            self._failure = error
            self._ended.set()
            return
        self.messages += len(batch)
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()
