"""The whole configuration as typed, validated values. Durations are read as seconds."""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from presenced.settings.aws import (
    DATA_URL_REQUIRED,
    REGION_REQUIRED,
    AwsSettings,
    ReconcileSettings,
)
from presenced.settings.endpoints import brokers_region_of, queue_region_of, region_of
from presenced.settings.kafka import IAM, KafkaSettings
from presenced.settings.metrics import MetricsSettings
from presenced.settings.mqtt import MqttSettings
from presenced.settings.partitions import region_of_endpoint
from presenced.settings.presence import PresenceSettings
from presenced.settings.problems import InvalidValue
from presenced.settings.sqs import SqsSettings
from presenced.settings.tls import TlsSettings
from presenced.settings.values import Number, PathName, Section, file_default

ADDRESS_REQUIRED = "address_required"
"""Entry of pydantic's validation context: whether a queue or brokers have to be named."""


class HistorySettings(Section):
    """How much the API remembers of the events of each client, in memory: see `metrics.api`."""

    clients: Annotated[Number, Field(ge=0)] = 10_000
    """How many clients have a history: those with the latest events. The history of a client takes
    about 250 bytes, and 250 more for each of its events. With `source: kafka` it is the number of
    one daemon, whose partitions have equal shares."""

    per_client: Annotated[Number, Field(ge=1, le=1000)] = 20
    """How many events of each of them are remembered: the last ones, including those that were
    ignored."""


class StateSettings(Section):
    """State that outlives a restart."""

    path: PathName | None = None
    """SQLite file that keeps presence across restarts. null is $STATE_DIRECTORY/presenced.db if
    systemd sets that variable; otherwise nothing is kept. With `source: kafka` it must be null,
    because `kafka.state_topic` keeps the state."""

    on_error: Literal["continue", "stall"] = "continue"
    """What happens to messages while the file cannot be written, for example because the disk is
    full. `continue` acknowledges them: presence goes on in memory, and a crash loses what was not
    written. `stall` acknowledges none: the broker keeps them, sends no more after a certain number,
    and presence stops changing. If the file cannot be opened at start, `continue` runs from memory
    until the next start, and `stall` ends presenced with status 1."""


class LogSettings(Section):
    """Log lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines to write."""

    format: Literal["auto", "console", "json"] = "auto"
    """`console` is text for people, `json` one object per line for programs; `auto` is console
    on a terminal, entries with fields in the systemd journal, else json."""


def _absent_as_none(value: Any, info: ValidationInfo) -> Any:
    if value is None or value == {}:
        return None if info.data.get("source") in ("sqs", "kafka") else {}
    return value


class Settings(Section):
    """The configuration of presenced.

    Every key can be overridden by an environment variable: PRESENCED_ and the key's path joined
    by __, such as PRESENCED_MQTT__ENDPOINT.
    """

    source: Literal["mqtt", "sqs", "kafka"] = "mqtt"
    """Where events come from: an MQTT connection to the broker, a queue of Amazon SQS, or topics of
    Apache Kafka. AWS IoT Core discards what exceeds 100 messages a second on an MQTT connection; an
    IoT rule that sends them to a queue or a topic has no such limit. Takes effect at the next
    start."""

    mqtt: Annotated[
        MqttSettings | None,
        BeforeValidator(_absent_as_none, json_schema_input_type=MqttSettings),
    ] = file_default({})
    """Required with `source: mqtt`; may be absent with the others."""

    sqs: SqsSettings = file_default({})
    kafka: KafkaSettings = file_default({})
    presence: PresenceSettings = file_default({})
    aws: AwsSettings = file_default({})
    reconcile: ReconcileSettings = file_default({})
    metrics: MetricsSettings = file_default({})
    history: HistorySettings = file_default({})
    state: StateSettings = file_default({})
    log: LogSettings = file_default({})

    @property
    def mqtt_source(self) -> MqttSettings | None:
        """The section `mqtt` if events come from there, else None."""
        return self.mqtt if self.source == "mqtt" else None

    @property
    def transport(self) -> str:
        """What carries the events: the MQTT library, or the name of another source."""
        return self.mqtt.transport if self.mqtt and self.source == "mqtt" else self.source

    @property
    def mqtt_endpoint(self) -> str:
        """The `mqtt.server_name` or `mqtt.endpoint`, empty if there is none."""
        return self.mqtt.certified_name if self.mqtt else ""

    @property
    def tls_files(self) -> TlsSettings | None:
        """The section `mqtt.tls` if its files are used: by MQTT, or for `aws.role_alias`."""
        if self.mqtt and (self.source == "mqtt" or self.aws.role_alias):
            return self.mqtt.tls
        return None

    @property
    def region(self) -> str | None:
        """The region of AWS IoT, None if nothing names it."""
        return region_of(self.aws, self.mqtt_endpoint, self.sqs.queue_url)

    @property
    def signing_region(self) -> str | None:
        """The region that MQTT connections are signed for, None if they are not.

        The endpoint names it, unless it is a custom domain.
        """
        mqtt = self.mqtt_source
        if mqtt is None or mqtt.auth != "sigv4":
            return None
        return region_of_endpoint(mqtt.endpoint) or self.aws.region

    @property
    def queue_region(self) -> str | None:
        """The region of `sqs.queue_url`, None if nothing names it."""
        return queue_region_of(self.aws, self.mqtt_endpoint, self.sqs.queue_url)

    @property
    def brokers_region(self) -> str | None:
        """The region of `kafka.bootstrap_servers`, None if nothing names it."""
        return brokers_region_of(self.aws, self.kafka.bootstrap_servers)

    @field_validator("sqs")
    @classmethod
    def _check_queue_given(cls, sqs: SqsSettings, info: ValidationInfo) -> SqsSettings:
        if _must_name(info, "sqs") and sqs.queue_url is None:
            raise InvalidValue(
                "is not set: with source: sqs set it to the URL that"
                " `aws sqs get-queue-url --queue-name NAME` prints",
                key="sqs.queue_url",
            )
        return sqs

    @field_validator("kafka")
    @classmethod
    def _check_brokers_given(cls, kafka: KafkaSettings, info: ValidationInfo) -> KafkaSettings:
        if _must_name(info, "kafka") and not kafka.bootstrap_servers:
            raise InvalidValue(
                "is not set: with source: kafka set it to some brokers of the cluster, such as"
                ' ["kafka-1.example.com:9093"]',
                key="kafka.bootstrap_servers",
            )
        return kafka

    @field_validator("presence")
    @classmethod
    def _check_something_is_subscribed(
        cls, presence: PresenceSettings, info: ValidationInfo
    ) -> PresenceSettings:
        mqtt: MqttSettings | None = info.data.get("mqtt")
        for number, filters in enumerate(mqtt.connections if mqtt else ()):
            if not filters and (number or not presence.status_topics):
                raise InvalidValue("must not be empty", key=f"mqtt.connections[{number}]")
        return presence

    @field_validator("presence")
    @classmethod
    def _check_things_are_whole(
        cls, presence: PresenceSettings, info: ValidationInfo
    ) -> PresenceSettings:
        if presence.thing_pattern is not None and info.data.get("source") == "kafka":
            raise InvalidValue(
                "is not available with source: kafka, where the clients of a thing are in different"
                " partitions: remove it, or use source: mqtt or sqs",
                key="presence.thing_pattern",
            )
        return presence

    @field_validator("aws")
    @classmethod
    def _check_client_certificate(cls, aws: AwsSettings, info: ValidationInfo) -> AwsSettings:
        # A wrong section is reported by itself.
        if aws.role_alias and "mqtt" in info.data:
            mqtt: MqttSettings | None = info.data["mqtt"]
            if mqtt and mqtt.auth == "sigv4":
                raise InvalidValue(
                    "needs a client certificate, which mqtt.auth: sigv4 does not use: remove it,"
                    " and requests to AWS take the same credentials as MQTT",
                    key="aws.role_alias",
                )
            if mqtt and mqtt.tls and mqtt.tls.pkcs11.library:
                raise InvalidValue(
                    "cannot use a key in hardware (mqtt.tls.pkcs11), because the credentials are"
                    " requested over HTTPS with a key from a file: remove it, and give this machine"
                    " a role or set the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    key="aws.role_alias",
                )
            if not (mqtt and mqtt.tls and mqtt.tls.cert):
                raise InvalidValue(
                    "needs a client certificate: set mqtt.tls.cert and mqtt.tls.key",
                    key="aws.role_alias",
                )
        return aws

    @field_validator("aws")
    @classmethod
    def _check_region_of_source(cls, aws: AwsSettings, info: ValidationInfo) -> AwsSettings:
        sqs: SqsSettings | None = info.data.get("sqs")
        kafka: KafkaSettings | None = info.data.get("kafka")
        source, endpoint = info.data.get("source"), _endpoint(info)
        if endpoint is None:
            return aws
        mqtt: MqttSettings | None = info.data["mqtt"]
        if source == "mqtt" and mqtt and mqtt.auth == "sigv4" and endpoint:
            if region_of(aws, endpoint) is None:
                raise InvalidValue(REGION_REQUIRED, key="aws.region")
        elif source == "sqs" and sqs and sqs.queue_url:
            if queue_region_of(aws, endpoint, sqs.queue_url) is None:
                raise InvalidValue(REGION_REQUIRED, key="aws.region")
        elif source == "kafka" and kafka and kafka.security.mechanism == IAM:
            servers = kafka.bootstrap_servers
            if servers and brokers_region_of(aws, servers) is None:
                raise InvalidValue(
                    f"is not set, which {IAM} needs, and no name in kafka.bootstrap_servers has a"
                    " region, as those of Amazon MSK have: set it to the region of the cluster",
                    key="aws.region",
                )
        return aws

    @field_validator("reconcile")
    @classmethod
    def _check_aws_can_be_asked(
        cls, reconcile: ReconcileSettings, info: ValidationInfo
    ) -> ReconcileSettings:
        aws: AwsSettings | None = info.data.get("aws")
        sqs: SqsSettings | None = info.data.get("sqs")
        endpoint, from_mqtt = _endpoint(info), info.data.get("source") == "mqtt"
        # A missing endpoint is reported by itself.
        if not (reconcile.enabled and aws and sqs) or (from_mqtt and not endpoint):
            return reconcile
        if endpoint is None:
            return reconcile
        if region_of(aws, endpoint, sqs.queue_url) is None:
            raise InvalidValue(REGION_REQUIRED, key="aws.region")
        if not (endpoint or aws.data_url):
            raise InvalidValue(DATA_URL_REQUIRED, key="aws.data_url")
        return reconcile

    @field_validator("state")
    @classmethod
    def _check_state_is_kept(cls, state: StateSettings, info: ValidationInfo) -> StateSettings:
        if state.path is not None and info.data.get("source") == "kafka":
            raise InvalidValue(
                "has no effect with source: kafka, which keeps the state in kafka.state_topic:"
                " remove it",
                key="state.path",
            )
        return state


def _must_name(info: ValidationInfo, source: str) -> bool:
    """Return whether the address of this source has to be set."""
    required = (info.context or {}).get(ADDRESS_REQUIRED)
    return bool(required) and info.data.get("source") == source


def _endpoint(info: ValidationInfo) -> str | None:
    """Return the name of the broker, empty if there is none; None if the section is wrong."""
    if "mqtt" not in info.data:
        return None
    mqtt: MqttSettings | None = info.data["mqtt"]
    return mqtt.certified_name if mqtt else ""
