"""What a source of messages is: one MQTT connection that fills an inbox; its options."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

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
    """The settings of one connection. Durations are in seconds.

    `session_expiry` 0 means a clean session (MQTT 5 section 3.1.2.11.2). `protocol` is for the
    aiomqtt transport; awscrt speaks MQTT 5 only. `reconnect_min` and `reconnect_max` bound the
    full-jitter back-off. On `alpn_port` the protocol of MQTT is negotiated by ALPN.
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
    alpn_port: int = ALPN_PORT

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        host = f"[{self.endpoint}]" if ":" in self.endpoint else self.endpoint
        return f"{host}:{self.port}"

    @property
    def alpn(self) -> list[str]:
        """The protocols to offer in the TLS handshake; none on ports other than `alpn_port`."""
        return [ALPN_PROTOCOL] if self.port == self.alpn_port else []

    @property
    def session_kept(self) -> bool:
        """Whether the broker is to keep the session while this client is away."""
        return self.session_expiry >= 1


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long a connection waits, in seconds.

    `answer` is for a CONNACK, with aiomqtt for a SUBACK too. `diagnose_after` is how long an
    attempt takes before a diagnosis of it begins. `alert` is how long that waits for a server to
    reject the client certificate. `retry_min` and `retry_max` bound the back-off between
    SUBSCRIBEs for filters that were refused.
    """

    answer: float = 10.0
    diagnose_after: float = 3.0
    alert: float = 1.0
    retry_min: float = 5.0
    retry_max: float = 120.0


class Source(Protocol):
    """One MQTT connection that fills an inbox until it is stopped.

    All methods are called on the event loop. Being disconnected is a state that `status` shows,
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
