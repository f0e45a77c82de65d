"""The MQTT steps: CONNACK, SUBACK and the first message, by the daemon's own transport."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from presenced.commands.doctor.report import Finding, Status
from presenced.events.message import Message
from presenced.settings import format_duration
from presenced.settings.authorizer import masked_user_name
from presenced.settings.topic_filters import overlapping_filters
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection import MqttConnection
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.connections import Transport, build_source
from presenced.sources.mqtt.faults import (
    Fault,
    FaultReason,
    granted_qos_0,
    published_at_qos_0,
    receive_remedy,
    subscribe_remedy,
)
from presenced.sources.mqtt.options import probe_client_id
from presenced.sources.mqtt.symptoms import no_connack

ANSWER_TIMEOUT = 40.0
"""Seconds to wait for an answer: more than the transports wait, which report what is missing."""

_PROBE_TIMEOUT = 10.0
# In a busy fleet no probe is needed. AWS accepts one CONNECT per second and client ID.
_PROBE_AFTER = 1.0
_PROBE_EVERY = 3.0


class MqttProbe:
    """One MQTT connection and its steps, in this order. Make it on the event loop.

    `daemon_client_id` is the configured client ID if `options` has another one, which the broker
    may not accept.
    """

    def __init__(
        self, transport: Transport, options: ConnectionOptions, daemon_client_id: str | None
    ) -> None:
        self._transport: Transport = transport
        self._options = options
        self._daemon_client_id = daemon_client_id
        self._first: Message | None = None
        self._probed = False
        self._source = _source(transport, options, self._deliver)
        self._status = self._source.status

    async def stop(self) -> None:
        """Disconnect."""
        await self._source.stop()

    async def connect(self) -> Finding:
        """Send CONNECT and wait for the CONNACK."""
        status = self._status
        await self._source.start()
        await status.until(lambda: status.accepted, ANSWER_TIMEOUT)
        if status.accepted:
            return Finding(Status.OK, f"{self._options.client_id} is accepted{self._user_name()}")
        return refused(status.fault, self._options, self._daemon_client_id)

    def _user_name(self) -> str:
        """Return the user name that a custom authorizer has accepted."""
        if self._options.auth != "custom":
            return ""
        return f", with the user name {masked_user_name(self._options.username or '')}"

    async def subscribed(self, topic_filter: str) -> Finding:
        """Wait for the SUBACK of one filter."""
        status, options = self._status, self._options
        await status.until(lambda: topic_filter in status.answers, ANSWER_TIMEOUT)
        answer = status.answers.get(topic_filter)
        if isinstance(answer, int):
            if answer < options.qos:
                return Finding.of(granted_qos_0(topic_filter), Status.WARNING)
            return Finding(Status.OK, f"granted with QoS {answer}")
        if answer is not None:
            return Finding.of(answer)
        if status.fault is not None:
            return Finding(
                Status.FAILED,
                "the broker ended the connection instead of answering SUBSCRIBE"
                f" ({status.fault.detail})",
                "Some brokers do so if they do not allow the subscription."
                f" {subscribe_remedy(topic_filter, options.certified_name)}",
            )
        return Finding(
            Status.FAILED,
            f"the broker at {options.address} did not answer the SUBSCRIBE to {topic_filter}",
            "Ask the operator of the broker; its log may name the cause",
        )

    async def first_message(self, limit: float) -> Finding:
        """Wait `limit` seconds for any message, and make AWS publish events in that time."""
        if not limit:
            return Finding(Status.SKIPPED, "not waited for")
        probing = asyncio.create_task(self._connect_probes())
        try:
            await self._status.until(lambda: self._first is not None, limit)
        finally:
            probing.cancel()
            await asyncio.wait({probing})
        if self._first is None:
            if self._status.fault is not None:
                return Finding.of(self._status.fault)
            return no_message(self._options, limit, probed=self._probed)
        topic = "".join(c if c.isprintable() else "?" for c in self._first.topic[:256])
        # If the broker granted each filter as requested, a lower QoS is that of the publisher.
        if self._first.qos < self._options.qos and 0 not in self._status.answers.values():
            return Finding.of(published_at_qos_0(topic), Status.WARNING)
        return Finding(Status.OK, f"{topic}, QoS {self._first.qos}")

    async def _connect_probes(self) -> None:
        """Connect as another client again and again: AWS publishes an event of each connect.

        Once is not enough, because a subscription may not be active yet. A refused probe works too:
        AWS publishes `connect_failed`.
        """
        client_id = probe_client_id(self._options.client_id)
        options = replace(self._options, client_id=client_id, filters=())
        await asyncio.sleep(_PROBE_AFTER)
        while True:
            self._probed |= await _connect_once(self._transport, options)
            await asyncio.sleep(_PROBE_EVERY)

    def _deliver(self, batch: list[Message]) -> None:
        self._first = self._first or batch[0]
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()


async def _connect_once(transport: Transport, options: ConnectionOptions) -> bool:
    """Connect and disconnect; return whether the broker accepted the connection."""
    source = _source(transport, options, lambda _: None)
    status = source.status
    try:
        await source.start()
        await status.until(lambda: status.accepted, _PROBE_TIMEOUT)
    finally:
        await source.stop()
    return status.accepted


def _source(
    transport: Transport, options: ConnectionOptions, deliver: Callable[[list[Message]], None]
) -> MqttConnection:
    return build_source(transport, options, Inbox(asyncio.get_running_loop(), deliver))


def refused(
    fault: Fault | None, options: ConnectionOptions, daemon_client_id: str | None
) -> Finding:
    """Return the finding for a connection that was not accepted, None for no answer at all.

    The cause may be the client ID of the doctor alone, if it differs from `daemon_client_id`.
    """
    fault = fault or no_connack(options)
    finding = Finding.of(fault)
    about_client_id = (FaultReason.NOT_AUTHORIZED, FaultReason.CONNECT_REFUSED)
    if daemon_client_id is None or fault.reason not in about_client_id:
        return finding
    why = (
        f"The doctor connects as {options.client_id} so that the daemon stays connected. If the"
        " broker accepts only the client ID of the daemon, stop the daemon and run the doctor with"
        f" --client-id {daemon_client_id}"
    )
    return replace(finding, remedy=f"{finding.remedy}. {why}".removeprefix(". "))


def no_message(options: ConnectionOptions, limit: float, *, probed: bool) -> Finding:
    """Return the finding for granted filters on which nothing came within `limit` seconds.

    `probed` is set if a probe connected in that time: AWS publishes an event of its connect.
    """
    silence = f"subscription granted, but no message received within {format_duration(limit)}"
    probe = probe_client_id(options.client_id)
    topic = f"$aws/events/presence/connected/{probe}"
    receive = receive_remedy(options.filters, options.certified_name)
    if probed and any(overlapping_filters([options.filters, [topic]])):
        return Finding(
            Status.FAILED,
            f"{silence}, though {probe} connected meanwhile, and AWS IoT Core publishes that"
            f" on {topic}",
            f"{receive}. Other brokers publish no such event: there, wait for a device to connect,"
            " with --timeout 5m",
        )
    return Finding(
        Status.FAILED,
        f"{silence}, perhaps because no event matched these filters",
        f"Wait longer, with --timeout 5m, and cause such an event. {receive}",
    )
