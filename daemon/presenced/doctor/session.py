"""The steps of MQTT, walked with the daemon's own transport: CONNACK, SUBACK, first message."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Self

from presenced.doctor.report import Finding, Status
from presenced.doctor.verdicts import came, dropped, granted, no_answer, refused, silent
from presenced.mqtt.inbox import Inbox
from presenced.mqtt.message import Message
from presenced.mqtt.source import Source, SourceOptions
from presenced.mqtt.sources import build_source
from presenced.mqtt.watch import Watch
from presenced.visitors import probe_client_id

__all__ = ["Session", "Transport"]

Transport = Literal["awscrt", "aiomqtt"]

# Longer than any time-out of the transports, which then say themselves what did not come.
_PATIENCE = 40.0
_PROBE_PATIENCE = 10.0
# A busy fleet speaks by itself. AWS accepts one CONNECT per second and client ID.
_PROBE_AFTER = 1.0
_PROBE_EVERY = 3.0


class Session:
    """One connection and the steps on it, in order; to be left as a context manager.

    `stands_in_for` is the daemon's client ID where that of the options is another one, which a
    policy may not know.
    """

    def __init__(
        self, transport: Transport, options: SourceOptions, stands_in_for: str | None
    ) -> None:
        self._transport: Transport = transport
        self._options = options
        self._stands_in_for = stands_in_for
        self._watch = Watch(options)
        self._first: Message | None = None
        self._probed = False
        self._source = _source(transport, options, self._watch, self._deliver)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._source.stop()

    async def connect(self) -> Finding:
        """Send CONNECT and wait for the CONNACK."""
        watch = self._watch
        await self._source.start()
        await watch.until(lambda: watch.accepted, _PATIENCE)
        if watch.accepted:
            return Finding(Status.OK, f"{self._options.client_id} is accepted")
        return refused(watch.ended, self._options, self._stands_in_for)

    async def granted(self, topic_filter: str) -> Finding:
        """Wait for the SUBACK of one filter."""
        watch = self._watch
        await watch.until(lambda: topic_filter in watch.answers, _PATIENCE)
        answer = watch.answers.get(topic_filter)
        if isinstance(answer, int):
            return granted(answer, topic_filter, self._options)
        if answer is not None:
            return Finding.of(answer)
        if watch.ended is not None:
            return dropped(watch.ended, topic_filter, self._options)
        return no_answer(topic_filter, self._options)

    async def first_message(self, limit: float) -> Finding:
        """Wait so many seconds for any message, and meanwhile give AWS something to tell."""
        if not limit:
            return Finding(Status.SKIPPED, "not waited for")
        probing = asyncio.create_task(self._probe())
        try:
            await self._watch.until(lambda: self._first is not None, limit)
        finally:
            probing.cancel()
            await asyncio.wait({probing})
        if self._first is not None:
            return came(self._first, self._watch.answers, self._options)
        if self._watch.ended is not None:
            return Finding.of(self._watch.ended)
        return silent(self._options, limit, probed=self._probed)

    async def _probe(self) -> None:
        """Connect as another client, and again: AWS publishes an event of each connect.

        More than once, as the subscription may take a while to be active. A probe that is refused
        serves, too: AWS tells of failed connects.
        """
        client_id = probe_client_id(self._options.client_id)
        options = replace(self._options, client_id=client_id, filters=())
        await asyncio.sleep(_PROBE_AFTER)
        while True:
            self._probed |= await _visit(self._transport, options)
            await asyncio.sleep(_PROBE_EVERY)

    def _deliver(self, batch: list[Message]) -> None:
        self._first = self._first or batch[0]
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()
        self._watch.wake()


async def _visit(transport: Transport, options: SourceOptions) -> bool:
    """Connect and go again; whether the broker accepted it."""
    watch = Watch(options)
    source = _source(transport, options, watch, lambda _: None)
    try:
        await source.start()
        await watch.until(lambda: watch.accepted, _PROBE_PATIENCE)
    finally:
        await source.stop()
    return watch.accepted


def _source(
    transport: Transport,
    options: SourceOptions,
    watch: Watch,
    deliver: Callable[[list[Message]], None],
) -> Source:
    return build_source(transport, options, Inbox(asyncio.get_running_loop(), deliver), watch)
