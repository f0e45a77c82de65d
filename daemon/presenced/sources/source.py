"""What every transport is: one MQTT connection that fills an inbox.

The status of a connection that can be waited for.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.status import ConnectionStatus

# AWS IoT Core speaks MQTT with client certificates on port 443 where the client asks for it
# ("Device communication protocols" in the AWS IoT developer guide).
ALPN_PORT = 443
ALPN_PROTOCOL = "x-amzn-mqtt-ca"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a TLS connection; `cert` and `key` come together or not at all.

    Without `ca` the system's trust store verifies the server.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What one connection needs to know. Durations are in seconds.

    `session_expiry` 0 means a clean session (MQTT 5 section 3.1.2.11.2). `protocol` is for the
    aiomqtt transport; awscrt speaks MQTT 5 only. `reconnect_min` and `reconnect_max` bound the
    full-jitter back-off.
    """

    endpoint: str
    port: int
    client_id: str
    filters: tuple[str, ...]
    tls: TlsFiles | None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["3.1.1", "5"] = "5"
    qos: Literal[0, 1] = 1
    keep_alive: float = 30.0
    session_expiry: float = 3600.0
    reconnect_min: float = 1.0
    reconnect_max: float = 60.0

    @property
    def address(self) -> str:
        """Host and port, for people."""
        host = f"[{self.endpoint}]" if ":" in self.endpoint else self.endpoint
        return f"{host}:{self.port}"

    @property
    def alpn(self) -> list[str]:
        """The protocols to offer in the TLS handshake; none on ports other than 443."""
        return [ALPN_PROTOCOL] if self.port == ALPN_PORT else []

    @property
    def session_kept(self) -> bool:
        """Whether the broker is to keep the session while this client is away."""
        return self.session_expiry >= 1


class Source(Protocol):
    """One MQTT connection that fills an inbox until it is stopped.

    All methods are called on the event loop. Being disconnected is a state that `status` tells,
    never an exception.
    """

    status: ConnectionStatus

    async def start(self) -> None:
        """Begin to connect, and return without waiting for it."""

    async def renew(self) -> bool:
        """Reconnect if the certificate files have changed since they were read, and are complete.

        Returns whether it did. A pair that is half written, does not match or is not valid now is
        left alone; the connection goes on with the one it has.
        """

    async def stop(self) -> None:
        """Send DISCONNECT if connected, and return when no more messages will come."""


class Watch(ConnectionStatus):
    """Keeps what a transport reports, and wakes the one who waits for it.

    `ended` is why the connection failed or was lost, `answers` what the broker said to each topic
    filter: the QoS that it granted, or a fault.
    """

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options.client_id, options.filters, endpoint=options.endpoint)
        self.accepted = False
        self.ended: Fault | None = None
        self.answers: dict[str, int | Fault] = {}
        self._news = asyncio.Event()

    async def until(self, told: Callable[[], object], limit: float) -> None:
        """Wait until `told` is true, the connection has ended, or `limit` seconds are over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not told() and self.ended is None:
                    self._news.clear()
                    await self._news.wait()

    def wake(self) -> None:
        """Have the one who waits look again."""
        self._news.set()

    def up(self, *, resumed: bool) -> None:
        """The broker accepted our CONNECT."""
        super().up(resumed=resumed)
        self.accepted = True
        self.wake()

    def failed(self, fault: Fault) -> None:
        """An attempt to connect failed."""
        super().failed(fault)
        self.ended = fault
        self.wake()

    def lost(self, fault: Fault, now: float) -> None:
        """The accepted connection ended against our will."""
        super().lost(fault, now)
        self.ended = fault
        self.wake()

    def filter_granted(self, topic_filter: str, qos: int) -> None:
        """The SUBACK granted a filter."""
        super().filter_granted(topic_filter, qos)
        self.answers[topic_filter] = qos
        self.wake()

    def filter_refused(self, topic_filter: str, detail: str) -> None:
        """The SUBACK refused a filter."""
        super().filter_refused(topic_filter, detail)
        self.answers[topic_filter] = self._refusals[topic_filter]
        self.wake()

    def subscription_unanswered(self, filters: Sequence[str], detail: str) -> None:
        """A SUBSCRIBE got no SUBACK."""
        super().subscription_unanswered(filters, detail)
        for topic_filter in filters:
            self.answers[topic_filter] = Fault(
                FaultReason.OTHER, f"the subscription to {topic_filter} got no answer ({detail})"
            )
        self.wake()
