"""The settings of the connection to the broker. Durations are read as seconds.

The certificate files of the connection to the broker.

The password for the broker, from where the settings say it is.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from presenced.settings.problems import InvalidValue, Problem, SettingsError, read_named_file
from presenced.settings.values import (
    HOW_TO_FIND_ENDPOINT,
    Duration,
    Number,
    PathName,
    Section,
    check_endpoint,
    check_topic_filter,
    overlapping_filters,
    utf8_length,
    within,
    written,
)

_DIRECTORY = "/etc/presenced/certs"


class TlsSettings(Section):
    """Files that prove who we are and who the broker is, all in PEM format."""

    cert: PathName | None = written(f"{_DIRECTORY}/certificate.pem.crt")
    """Certificate that presenced shows to the broker: the file that AWS calls
    `...-certificate.pem.crt`. null, together with `key`, connects without a client certificate,
    which AWS IoT Core refuses."""

    key: PathName | None = written(f"{_DIRECTORY}/private.pem.key")
    """Private key of the certificate, not encrypted. Only the daemon's user should be able to
    read it."""

    ca: PathName | None = written(f"{_DIRECTORY}/AmazonRootCA1.pem")
    """Certificate authority that must have signed the broker's certificate; for AWS IoT Core it
    is https://www.amazontrust.com/repository/AmazonRootCA1.pem. null trusts the authorities that
    the operating system trusts."""

    refresh: Annotated[Duration, within("1s", "1d")] = written("5m")
    """How often to look whether the files have been replaced, from 1s to 1d. A new pair that is
    complete is taken then, with one reconnect; at every reconnect it is taken anyway."""

    @field_validator("key")
    @classmethod
    def _pair(cls, key: object, info: ValidationInfo) -> object:
        if "cert" in info.data and (info.data["cert"] is None) != (key is None):
            raise InvalidValue(
                "must be null exactly when mqtt.tls.cert is:"
                f" now mqtt.tls.cert is {'null' if key is not None else 'a file'}"
            )
        return key


def _read(value: Any) -> Any:
    if value is False:
        return None
    if isinstance(value, Mapping | TlsSettings):
        return value
    raise InvalidValue(
        "must be a mapping with cert, key and ca, or false for a plaintext broker on a trusted"
        " network"
    )


class _OffSchema:
    """The file says false where the settings say None."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        choices = handler(schema)["anyOf"]
        return {"anyOf": [c if "$ref" in c else {"const": False} for c in choices]}


OptionalTls = Annotated[TlsSettings | None, BeforeValidator(_read), _OffSchema()]
"""The files, or None where the file says `tls: false`."""

ENDPOINT_REQUIRED = "endpoint_required"
"""Entry of pydantic's validation context: whether an empty endpoint is an error."""

_MAX_CLIENT_ID = 128
_SHOWN_OVERLAPS = 5
_AWS = (".amazonaws.com", ".amazonaws.com.cn")


def _client_id(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty", nearest="presenced")
    if utf8_length(text) > _MAX_CLIENT_ID:
        raise InvalidValue(f"must not be longer than {_MAX_CLIENT_ID} bytes")
    if set(text) & set("#+") or text.startswith("$"):
        raise InvalidValue(
            "must not hold # or + nor begin with $: AWS IoT Core tells no lifecycle events of"
            " such clients"
        )
    return text


def _client_ids(first: str, count: int) -> tuple[str, ...]:
    return (first, *(f"{first}-{number}" for number in range(2, count + 1)))


def _is_aws(endpoint: str) -> bool:
    return endpoint.lower().rstrip(".").endswith(_AWS)


def _qos(value: Any) -> Any:
    if type(value) is int and value in (0, 1):
        return value
    raise InvalidValue("must be 0 or 1: AWS IoT Core has no QoS 2", nearest="1")


def _protocol(value: Any) -> Any:
    return "5" if type(value) is int and value == 5 else value


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        raise InvalidValue("must be a list of topic filters", nearest=f'["{value}"]')
    return value


def _listed_twice(value: Any) -> Any:
    if isinstance(value, str):
        raise InvalidValue("must be a list of lists of topic filters", nearest=f'[["{value}"]]')
    return value


TopicFilter = Annotated[str, AfterValidator(check_topic_filter)]
Connection = Annotated[
    tuple[TopicFilter, ...], Field(min_length=1, max_length=8), BeforeValidator(_listed)
]


class MqttSettings(Section):
    """Which broker to connect to, as whom, and what to subscribe to."""

    transport: Literal["awscrt", "aiomqtt"] = "awscrt"
    """MQTT library: `awscrt` for AWS IoT Core (MQTT 5), `aiomqtt` for any other broker
    (MQTT 3.1.1 or 5)."""

    endpoint: Annotated[str, BeforeValidator(check_endpoint)] = ""
    """Host name of the broker, without scheme and port. AWS tells that of your account and region
    by `aws iot describe-endpoint --endpoint-type iot:Data-ATS`. There is no default."""

    port: Annotated[Number, Field(ge=1, le=65535)] = 8883
    """TCP port of the broker. On 443, which passes more firewalls, AWS IoT Core expects the ALPN
    protocol x-amzn-mqtt-ca, which is then sent. Plaintext brokers mostly use 1883."""

    client_id: Annotated[str, AfterValidator(_client_id)] = "presenced"
    """MQTT client ID, at most 128 bytes. It must be unique among all clients of the account and
    region: two daemons with the same one throw each other out for ever. With several `connections`
    the second appends -2, the third -3, and so on."""

    username: str | None = None
    """User name, for brokers that ask for one."""

    password: SecretStr | None = None
    """Password of the user name. Better kept out of the file: see `password_file`, or set the
    environment variable PRESENCED_MQTT__PASSWORD."""

    password_file: PathName | None = None
    """File whose content, but for the newline at its end, is the password. Instead of
    `password`."""

    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(_protocol),
        WithJsonSchema({"enum": ["5", "3.1.1", 5]}),
    ] = "5"
    """Version of MQTT. 3.1.1 is for old brokers and needs the transport `aiomqtt`."""

    tls: OptionalTls = written({})
    """Certificate files. `false` connects without TLS, for a plaintext broker on a trusted
    network."""

    connections: Annotated[
        tuple[Connection, ...], Field(min_length=1, max_length=8), BeforeValidator(_listed_twice)
    ] = written([["$aws/events/#"]])
    """MQTT connections to open, each a list of 1 to 8 topic filters. AWS IoT Core delivers at most
    100 messages a second to one connection and discards the rest, so a large fleet wants its
    events divided among several. No two filters may match the same topic."""

    qos: Annotated[Literal[0, 1], BeforeValidator(_qos)] = 1
    """Quality of service of the subscriptions. 1 lets the broker repeat what was not acknowledged;
    0 loses messages when the network does."""

    keep_alive: Annotated[Duration, within("5s", "20m", whole=True)] = written("30s")
    """How long the connection may be silent before it is probed; a dead one is noticed within one
    and a half times this. Whole seconds from 5s to 20m. AWS IoT Core takes less than 30s for
    30s; through a VPC endpoint use at most 230s."""

    session_expiry: Annotated[Duration, within("0s", "7d", whole=True)] = written("1h")
    """How long the broker keeps the session and its undelivered messages after the connection is
    lost. Whole seconds, at most 7d; 0s starts afresh at every connect."""

    max_message_rate: Annotated[Number, Field(ge=1)] | None = 100
    """Messages per second and connection beyond which the broker discards. It limits nothing by
    itself: seconds at this rate are counted in presenced_mqtt_saturated_seconds_total, and are a
    gap. null is no limit. The default is AWS IoT Core's limit; where this key is left out it holds
    with the transport awscrt or an endpoint of AWS, and elsewhere there is none."""

    @property
    def message_rate_limit(self) -> int | None:
        """The `max_message_rate` that holds with this broker; None is no limit."""
        given = "max_message_rate" in self.model_fields_set
        aws = self.transport == "awscrt" or _is_aws(self.endpoint)
        return self.max_message_rate if given or aws else None

    @property
    def client_ids(self) -> tuple[str, ...]:
        """The client ID of each connection."""
        return _client_ids(self.client_id, len(self.connections))

    @field_validator("endpoint")
    @classmethod
    def _endpoint_given(cls, endpoint: str, info: ValidationInfo) -> str:
        if not endpoint and (info.context or {}).get(ENDPOINT_REQUIRED):
            raise InvalidValue(f"is not set: {HOW_TO_FIND_ENDPOINT}")
        return endpoint

    @field_validator("username")
    @classmethod
    def _username_not_empty(cls, username: str | None) -> str | None:
        if username == "":
            raise InvalidValue("must not be empty", nearest="null")
        return username

    @field_validator("password", "password_file")
    @classmethod
    def _password_for_someone(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("username", "") is None:
            raise InvalidValue("needs mqtt.username too")
        if value is not None and info.data.get("password") is not None:
            raise InvalidValue("must not be set together with mqtt.password: keep one of them")
        return value

    @field_validator("protocol")
    @classmethod
    def _protocol_spoken(cls, protocol: str, info: ValidationInfo) -> str:
        if protocol != "5" and info.data.get("transport") == "awscrt":
            raise InvalidValue("needs mqtt.transport: aiomqtt, because awscrt speaks MQTT 5 only")
        return protocol

    @field_validator("tls")
    @classmethod
    def _aws_needs_tls(cls, tls: object, info: ValidationInfo) -> object:
        if tls is None and _is_aws(info.data.get("endpoint", "")):
            raise InvalidValue("must name certificate files, as AWS IoT Core accepts TLS only")
        return tls

    @field_validator("connections")
    @classmethod
    def _no_message_twice(cls, connections: tuple[Connection, ...]) -> tuple[Connection, ...]:
        overlaps = list(overlapping_filters(connections))
        if overlaps:
            raise InvalidValue(
                "would bring the same message twice, and count it twice: "
                + _enumerate(overlaps, _SHOWN_OVERLAPS)
            )
        return connections

    @field_validator("connections")
    @classmethod
    def _room_for_suffix(
        cls, connections: tuple[Connection, ...], info: ValidationInfo
    ) -> tuple[Connection, ...]:
        last = _client_ids(info.data.get("client_id", ""), len(connections))[-1]
        if utf8_length(last) > _MAX_CLIENT_ID:
            raise InvalidValue(
                f"makes the last client ID, {last}, longer than {_MAX_CLIENT_ID} bytes: shorten"
                " mqtt.client_id"
            )
        return connections


def _enumerate(sentences: Iterable[str], shown: int) -> str:
    listed = list(sentences)
    more = f"; and {len(listed) - shown} more" if len(listed) > shown else ""
    return "; ".join(listed[:shown]) + more


_KEY = "mqtt.password_file"


def read_password(mqtt: MqttSettings) -> str | None:
    """The password for the broker, or None when there is none.

    Raises SettingsError when `mqtt.password_file` cannot be read or is empty.
    """
    if mqtt.password_file is None:
        return mqtt.password.get_secret_value() if mqtt.password else None
    content = read_named_file(mqtt.password_file, _KEY)
    return _password(mqtt.password_file, content)


def _password(path: Path, content: bytes) -> str:
    try:
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password:
        message = "is empty, or not UTF-8 text: it must hold the password"
        problem = Problem(key=_KEY, value=str(path), message=message, kind="malformed")
        raise SettingsError([problem])
    return password
