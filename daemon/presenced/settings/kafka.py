"""The section `kafka`: which cluster to connect to, how, and which topics to use.

Durations are read as seconds.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator

from presenced.settings.files import FileSnapshot
from presenced.settings.passwords import read_password_file
from presenced.settings.problems import InvalidValue
from presenced.settings.values import (
    Duration,
    PathName,
    Section,
    file_default,
    is_host,
    split_host_port,
    utf8_length,
    within,
)

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"]
"""How a client proves who it is. AWS_MSK_IAM uses the credentials of the section `aws`."""

IAM: SaslMechanism = "AWS_MSK_IAM"
"""The mechanism that needs credentials of AWS."""

# `Topic.validate` of Kafka, which also applies to `group.instance.id`.
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_DEFAULT_PORT = 9092
_PASSWORD_FILE = "kafka.security.password_file"  # noqa: S105 -- the name of a key


class KafkaSecurity(Section):
    """How the connections to Kafka are encrypted, and how presenced authenticates.

    Files are PEM files, as in `mqtt.tls`.
    """

    protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "SSL"
    """`SSL` encrypts, and authenticates by a client certificate if `cert` is set. `SASL_SSL`
    encrypts, and authenticates by `mechanism`. `PLAINTEXT` does neither: for a cluster on a trusted
    network."""

    ca: PathName | None = None
    """Certificate authority that must have signed the certificates of the brokers. null trusts the
    authorities that the operating system trusts, among them those of Amazon MSK."""

    cert: PathName | None = None
    """Certificate that presenced shows to the brokers, together with `key`."""

    key: PathName | None = None
    """Private key of the certificate, not encrypted. Only the daemon's user should be able to
    read it."""

    mechanism: SaslMechanism | None = None
    """How to authenticate with `SASL_SSL`: by user name and password, or with `AWS_MSK_IAM` by the
    credentials of AWS (`aws`), at Amazon MSK."""

    username: str | None = None
    """User name for the mechanisms with a password."""

    password_file: PathName | None = None
    """File whose content, without the newline at its end, is the password of the user name."""

    @field_validator("ca", "cert", "key")
    @classmethod
    def _check_tls(cls, path: object, info: ValidationInfo) -> object:
        if path is not None and info.data.get("protocol") == "PLAINTEXT":
            raise InvalidValue("has no effect with kafka.security.protocol: PLAINTEXT")
        return path

    @field_validator("key")
    @classmethod
    def _check_pair(cls, key: object, info: ValidationInfo) -> object:
        if "cert" in info.data and (info.data["cert"] is None) != (key is None):
            raise InvalidValue(
                "must be null exactly when kafka.security.cert is:"
                f" now kafka.security.cert is {'null' if key is not None else 'a file'}"
            )
        return key

    @field_validator("mechanism")
    @classmethod
    def _check_mechanism(cls, mechanism: str | None, info: ValidationInfo) -> str | None:
        # A wrong protocol is reported by itself.
        protocol = info.data.get("protocol")
        if mechanism is None and protocol == "SASL_SSL":
            raise InvalidValue("is needed with kafka.security.protocol: SASL_SSL")
        if mechanism is not None and protocol in ("PLAINTEXT", "SSL"):
            raise InvalidValue(
                f"has no effect with kafka.security.protocol: {protocol}; set that to SASL_SSL"
            )
        return mechanism

    @field_validator("username", "password_file")
    @classmethod
    def _check_account(cls, value: object, info: ValidationInfo) -> object:
        if value == "":
            raise InvalidValue("must not be empty", nearest="null")
        # A wrong mechanism is reported by itself.
        mechanism = info.data.get("mechanism", "")
        if value is None and mechanism not in ("", None, IAM):
            raise InvalidValue(f"is needed with kafka.security.mechanism: {mechanism}")
        if value is not None and mechanism is None:
            raise InvalidValue("has no effect without kafka.security.mechanism")
        if value is not None and mechanism == IAM:
            raise InvalidValue(
                f"has no effect with kafka.security.mechanism: {IAM}, which uses the credentials of"
                " AWS"
            )
        return value


def _split_servers(value: Any) -> Any:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        servers = [_nearest_server(part) or _bare(part) for part in parts]
        raise InvalidValue("must be a list of HOST:PORT", nearest=json.dumps(servers))
    return value


def _check_server(text: str) -> str:
    parts = split_host_port(text)
    if parts and is_host(parts[0]) and parts[1] > 0:
        return text
    nearest = _nearest_server(text)
    raise InvalidValue("must be HOST:PORT", nearest=nearest if nearest != text else None)


def _nearest_server(text: str) -> str | None:
    bare = _bare(text)
    return next((t for t in (bare, f"{bare}:{_DEFAULT_PORT}") if split_host_port(t)), None)


def _bare(text: str) -> str:
    """Return a server without the scheme, user name and slash of a URL."""
    return text.strip().rpartition("://")[2].rpartition("@")[2].rstrip("/")


def _check_name(text: str) -> str:
    if _NAME.fullmatch(text) is None or text in (".", ".."):
        nearest = re.sub(r"[^a-zA-Z0-9._-]+", "-", text).strip("-")
        raise InvalidValue(
            "is not a name that Kafka accepts: 1 to 249 of a-z A-Z 0-9 ._-",
            nearest=nearest if _NAME.fullmatch(nearest) and nearest.strip(".") else None,
        )
    return text


def _check_group(text: str) -> str:
    if utf8_length(text) == 0:
        raise InvalidValue("must not be empty", nearest="presenced")
    return text


Name = Annotated[str, AfterValidator(_check_name)]


class KafkaSettings(Section):
    """The cluster from which events are received, and which keeps the state, with `source: kafka`.

    The daemons with the same `group` divide the partitions of `topic` among them.
    """

    bootstrap_servers: Annotated[
        tuple[Annotated[str, AfterValidator(_check_server)], ...], BeforeValidator(_split_servers)
    ] = ()
    """Brokers to ask for the addresses of all, each as HOST:PORT. Two or three of them are enough.
    Required with `source: kafka`."""

    topic: Name = "presenced.events"
    """Topic with the events of clients and things, keyed by the IoT rule."""

    global_topic: Name = "presenced.global"
    """Topic with the events of thing types, groups and hierarchies. It has one partition."""

    state_topic: Name = "presenced.state"
    """Compacted topic that keeps the state of the partitions of `topic`. It has as many partitions
    as `topic`."""

    global_state_topic: Name = "presenced.global-state"
    """Compacted topic that keeps the types and groups. It has one partition."""

    group: Annotated[str, AfterValidator(_check_group)] = "presenced"
    """Consumer group of the daemons that share the work. Daemons with the same topics and another
    group would overwrite their state: give them state topics of their own too."""

    instance_id: Name | None = None
    """Name of this daemon in the group (static membership): a restart within the session timeout
    then moves no partitions. It must be stable, and unique in the group, such as the name of a pod
    of a StatefulSet. null is a new member at every start."""

    lease: Annotated[Duration, within("3s", "10m")] = file_default("20s")
    """How long after the last confirmation by the group the daemon shows its partitions, from 3s
    to 10m. Without one for longer it shows nothing, because another daemon may own them by then.
    With a shorter lease an outage of Kafka empties the metrics sooner; with a longer one a daemon
    that was cut off shows old values for longer. It lasts no longer than the session timeout of the
    group less one heartbeat interval, whatever is set here, and with brokers before Kafka 4.0 the
    session timeout is twice the lease."""

    security: KafkaSecurity = file_default({})
    """Encryption and authentication of the connections."""

    @field_validator("global_topic", "state_topic", "global_state_topic")
    @classmethod
    def _check_distinct(cls, topic: str, info: ValidationInfo) -> str:
        for name, other in info.data.items():
            if name.endswith("topic") and isinstance(other, str) and _collide(other, topic):
                raise InvalidValue(
                    f"must differ from kafka.{name}, here {other}, by more than . and _"
                )
        return topic


def _collide(topic: str, other: str) -> bool:
    """Return whether Kafka refuses to have both topics (`Topic.hasCollision`), or they are one."""
    return topic.replace(".", "_") == other.replace(".", "_")


def read_kafka_password(
    security: KafkaSecurity, snapshot: FileSnapshot | None = None
) -> str | None:
    """Return the password for Kafka from the file that the settings name; None if they name none.

    Raises SettingsError if the file cannot be read or is empty.
    """
    path = security.password_file
    return None if path is None else read_password_file(path, _PASSWORD_FILE, snapshot)
