"""The options of one MQTT connection."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from presenced.settings.partitions import is_aws
from presenced.settings.pkcs11 import Pkcs11Settings
from presenced.settings.proxy import Proxy
from presenced.settings.values import host_port
from presenced.sources.mqtt.faults import is_of_aws

# AWS IoT Core speaks MQTT with client certificates on port 443 if the client asks for it by ALPN
# ("Device communication protocols" in the AWS IoT developer guide).
# With a custom authorizer it is another protocol.
ALPN_PORT = 443
_ALPN_PROTOCOLS = {"certificate": "x-amzn-mqtt-ca", "custom": "mqtt"}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a TLS connection; `cert` and `key` are both set or both None.

    With `pkcs11` the key is in hardware and `key` is None; awscrt only. Without `ca` the system's
    trust store verifies the server.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    pkcs11: Pkcs11Settings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The settings of one connection, and how long it waits. Durations are in seconds.

    `status_filters` are those of `filters` that status messages match.

    `session_expiry` 0 means a clean session (MQTT 5 section 3.1.2.11.2). `protocol` and
    `server_name` are for the aiomqtt transport: awscrt speaks MQTT 5 only, and takes the name from
    `endpoint`. On `alpn_port` ALPN negotiates MQTT. `proxy` connects to the broker.

    With a `signing_region` MQTT is carried over WebSocket, whose handshake is signed for it; awscrt
    only.

    `reconnect_min` and `reconnect_max` bound the back-off between attempts to connect, `retry_min`
    and `retry_max` that between SUBSCRIBEs for refused filters. `answer_timeout` is for a CONNACK,
    with aiomqtt for a SUBACK too. An attempt that takes longer than `diagnose_after` is diagnosed;
    `alert_timeout` is how long a diagnosis waits for a server to reject the client certificate.
    """

    endpoint: str
    port: int
    client_id: str
    filters: tuple[str, ...]
    tls: TlsFiles | None
    status_filters: tuple[str, ...] = ()
    server_name: str | None = None
    proxy: Proxy | None = None
    auth: Literal["certificate", "custom", "sigv4"] = "certificate"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    protocol: Literal["3.1.1", "5"] = "5"
    qos: Literal[0, 1] = 1
    keep_alive: float = 30.0
    session_expiry: float = 3600.0
    reconnect_min: float = 1.0
    reconnect_max: float = 60.0
    retry_min: float = 5.0
    retry_max: float = 120.0
    answer_timeout: float = 10.0
    diagnose_after: float = 3.0
    alert_timeout: float = 1.0
    alpn_port: int = ALPN_PORT
    signing_region: str | None = None

    @property
    def address(self) -> str:
        """Host and port; an IPv6 address is in brackets."""
        return host_port(self.endpoint, self.port)

    @property
    def certified_name(self) -> str:
        """The name that the server's certificate must hold."""
        return self.server_name or self.endpoint

    @property
    def may_be_aws(self) -> bool:
        """Whether the broker is AWS IoT Core, or may be: a custom domain shows by its topics."""
        is_signed = self.auth != "certificate"  # the other ways to authenticate are those of AWS
        return is_signed or is_aws(self.certified_name) or any(map(is_of_aws, self.filters))

    @property
    def alpn(self) -> list[str]:
        """The protocols to offer in the TLS handshake: on `alpn_port`, except for WebSocket."""
        protocol = _ALPN_PROTOCOLS.get(self.auth)
        return [protocol] if protocol and self.port == self.alpn_port else []

    @property
    def session_kept(self) -> bool:
        """Whether the broker keeps the session while this client is disconnected."""
        return self.session_expiry >= 1
