"""The section `mqtt`: which broker to connect to, how, and what to subscribe to.

Durations are read as seconds.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from presenced.settings.authorizer import AuthorizerSettings, names_authorizer
from presenced.settings.partitions import is_aws
from presenced.settings.problems import InvalidValue
from presenced.settings.proxy import ProxyUrl, check_password_file
from presenced.settings.tls import TlsSettings, false_as_none
from presenced.settings.topic_filters import check_topic_filter, overlapping_filters
from presenced.settings.values import (
    HOW_TO_FIND_ENDPOINT,
    Duration,
    Number,
    PathName,
    Section,
    check_endpoint,
    file_default,
    utf8_length,
    within,
)

ENDPOINT_REQUIRED = "endpoint_required"
"""Entry of pydantic's validation context: whether an empty endpoint is an error."""
PLACEHOLDER_REFUSED = "placeholder_refused"
"""Entry of pydantic's validation context: whether the example's endpoint is an error."""

# `xxxxxxxxxxxxxx-ats.iot.eu-west-1.amazonaws.com` in config/presenced.yaml.
_PLACEHOLDER = re.compile(r"x{5,}(-ats)?\.")
_MAX_CLIENT_ID = 128
_SHOWN_OVERLAPS = 5
_SIGV4, _WEBSOCKET_PORT = "sigv4", 443
_NO_LOGIN = "has no effect with mqtt.auth: sigv4, which identifies presenced by its signature"


def _check_client_id(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty", nearest="presenced")
    if utf8_length(text) > _MAX_CLIENT_ID:
        raise InvalidValue(f"must not be longer than {_MAX_CLIENT_ID} bytes")
    if set(text) & set("#+") or text.startswith("$"):
        raise InvalidValue(
            "must not contain # or + and must not begin with $: AWS IoT Core publishes no lifecycle"
            " events of such clients"
        )
    return text


def _check_server_name(text: str) -> str:
    name = check_endpoint(text)
    if not name:
        raise InvalidValue("must not be empty", nearest="null")
    return name


def _check_qos(value: Any) -> Any:
    if type(value) is int and value in (0, 1):
        return value
    raise InvalidValue("must be 0 or 1: AWS IoT Core has no QoS 2", nearest="1")


def _check_filters(value: Any) -> Any:
    if isinstance(value, str):
        raise InvalidValue("must be a list of lists of topic filters", nearest=f'[["{value}"]]')
    return value


def _client_ids(first: str, count: int) -> tuple[str, ...]:
    return (first, *(f"{first}-{number}" for number in range(2, count + 1)))


TopicFilter = Annotated[str, AfterValidator(check_topic_filter)]
Connection = Annotated[tuple[TopicFilter, ...], Field(max_length=8)]


def _check_goes_with(tls: TlsSettings | None, auth: str | None, transport: str | None) -> None:
    """Check the files against who identifies itself, and how. Raises InvalidValue."""
    if auth == _SIGV4:
        if tls is None:
            raise InvalidValue("must be a mapping, as mqtt.auth: sigv4 sends a session token")
        if tls.cert is not None:
            raise InvalidValue(
                "must be null with mqtt.auth: sigv4, which uses no client certificate",
                key="mqtt.tls.cert",
            )
    if tls and tls.pkcs11.library and transport == "aiomqtt":
        raise InvalidValue(
            "needs mqtt.transport: awscrt, because aiomqtt reads keys from files only",
            key="mqtt.tls.pkcs11.library",
        )


class MqttSettings(Section):
    """Which broker to connect to, as which client, and what to subscribe to.

    With another `source` presenced does not connect, and the section may be absent. Requests to AWS
    then still take their defaults from `endpoint`, and `aws.role_alias` uses the files of `tls`.
    """

    transport: Literal["awscrt", "aiomqtt"] = "awscrt"
    """MQTT library: `awscrt` for AWS IoT Core (MQTT 5), `aiomqtt` for any other broker
    (MQTT 3.1.1 or 5)."""

    endpoint: Annotated[str, BeforeValidator(check_endpoint)] = ""
    """Host name of the broker, without scheme and port. For AWS IoT Core,
    `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints that of your account and region.
    Case and a dot at the end make no difference. There is no default."""

    auth: Literal["certificate", "sigv4", "custom"] = "certificate"
    """How presenced identifies itself: `certificate` by the client certificate of `tls`, or with
    other brokers by `username`; `sigv4` by credentials of an IAM role, with which it signs the
    handshake of MQTT over WebSocket; `custom` by a custom authorizer of AWS IoT Core, which gets
    `username`, `password` and `authorizer`. `sigv4` takes the credentials of the environment
    variables, the shared configuration files, the container or the EC2 instance, in this order, and
    needs the transport `awscrt`. `sigv4` and `custom` change the default of `port` to 443, where
    presenced sends the ALPN protocol `mqtt` with `custom`, and that of `tls.cert`, `tls.key` and
    `tls.ca` to null."""

    port: Annotated[Number, Field(ge=1, le=65535)] = 8883
    """TCP port of the broker. On 443, which passes more firewalls, AWS IoT Core expects the ALPN
    protocol x-amzn-mqtt-ca, which presenced then sends with a client certificate. Most plaintext
    brokers use 1883."""

    server_name: Annotated[str, AfterValidator(_check_server_name)] | None = None
    """Name that presenced asks for by SNI and that the server's certificate must hold, if it is
    not `endpoint`: for an address or a VPC endpoint that stands for another name. Needs the
    transport `aiomqtt`."""

    client_id: Annotated[str, AfterValidator(_check_client_id)] = "presenced"
    """MQTT client ID, at most 128 bytes. It must be unique among all clients of the account and
    region: two daemons with the same one disconnect each other again and again. With several
    `connections` the second appends -2, the third -3, and so on."""

    authorizer: AuthorizerSettings = file_default({})
    """What the custom authorizer gets besides `username` and `password`."""

    username: str | None = None
    """User name, for brokers and custom authorizers that require one; not with `auth: sigv4`."""

    password: SecretStr | None = None
    """Password of the user name. Better kept out of the file: see `password_file`, or set the
    environment variable PRESENCED_MQTT__PASSWORD."""

    password_file: PathName | None = None
    """File whose content, without the newline at its end, is the password. Instead of
    `password`."""

    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(lambda value: "5" if type(value) is int and value == 5 else value),
        WithJsonSchema({"enum": ["5", "3.1.1", 5]}),
    ] = "5"
    """Version of MQTT. 3.1.1 is for old brokers and needs the transport `aiomqtt`."""

    tls: Annotated[
        TlsSettings | None,
        BeforeValidator(false_as_none, json_schema_input_type=TlsSettings | Literal[False]),
    ] = file_default({})
    """Certificate files. `false` connects without TLS, for a plaintext broker on a trusted
    network."""

    proxy: ProxyUrl | None = None
    """HTTP proxy that connects to the broker by CONNECT: http://HOST:PORT or
    http://USER:PASSWORD@HOST:PORT. TLS is between presenced and the broker. No proxy is used for
    hosts that the environment variable NO_PROXY lists. null connects directly, whatever
    HTTPS_PROXY is."""

    proxy_password_file: PathName | None = None
    """File whose content, without the newline at its end, is the password for the user name in
    `proxy`."""

    connections: Annotated[
        tuple[Connection, ...], Field(min_length=1, max_length=8), BeforeValidator(_check_filters)
    ] = file_default([["$aws/events/#"]])
    """MQTT connections to open, each a list of 1 to 8 topic filters of events; the first one may be
    empty if there are `presence.status_topics`. AWS IoT Core delivers at most 100 messages a second
    to one connection and discards the rest, so a large fleet needs its events divided among
    several. Each filter must match topics of events, and no two filters may match the same
    topic."""

    qos: Annotated[Literal[0, 1], BeforeValidator(_check_qos)] = 1
    """Quality of service of the subscriptions. With 1 the broker repeats what was not acknowledged;
    with 0 messages are lost when the network fails."""

    keep_alive: Annotated[Duration, within("5s", "20m", whole=True)] = file_default("30s")
    """How long the connection may be silent before it is probed; a dead one is noticed within one
    and a half times this. Whole seconds from 5s to 20m. A broker of MQTT 5 may demand another
    time, which then applies. AWS IoT Core treats less than 30s as 30s; through a VPC endpoint use
    at most 230s."""

    session_expiry: Annotated[Duration, within("0s", "7d", whole=True)] = file_default("1h")
    """How long the broker keeps the session and its undelivered messages after the connection is
    lost. Whole seconds, at most 7d; 0s starts a new session at every connect."""

    max_message_rate: Annotated[Number, Field(ge=1)] | None = 100
    """Messages per second and connection beyond which the broker discards. It limits nothing by
    itself: seconds at this rate are counted in presenced_mqtt_saturated_seconds_total, and are a
    gap. null is no limit. The default is AWS IoT Core's limit. If this key is not set, it applies
    to endpoints that AWS names, and other brokers have no limit: set 100 for a custom domain of
    AWS."""

    @model_validator(mode="before")
    @classmethod
    def _use_defaults_of_auth(cls, value: Any) -> Any:
        if not (isinstance(value, Mapping) and value.get("auth") in (_SIGV4, "custom")):
            return value
        tls = value.get("tls", {})
        if isinstance(tls, Mapping):
            tls = {"cert": None, "key": None, "ca": None, **tls}
        return {"port": 443, **value, "tls": tls}

    @property
    def message_rate_limit(self) -> int | None:
        """The `max_message_rate` that applies to this broker; None is no limit."""
        given = "max_message_rate" in self.model_fields_set
        return self.max_message_rate if given or is_aws(self.certified_name) else None

    @property
    def certified_name(self) -> str:
        """The name that the server's certificate must hold."""
        return self.server_name or self.endpoint

    @property
    def client_ids(self) -> tuple[str, ...]:
        """The client ID of each connection."""
        return _client_ids(self.client_id, len(self.connections))

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint_given(cls, endpoint: str, info: ValidationInfo) -> str:
        context = info.context or {}
        if context.get(ENDPOINT_REQUIRED) and not endpoint:
            raise InvalidValue(f"is not set: {HOW_TO_FIND_ENDPOINT}")
        if context.get(PLACEHOLDER_REFUSED) and _PLACEHOLDER.match(endpoint):
            raise InvalidValue(f"is the placeholder of the example: {HOW_TO_FIND_ENDPOINT}")
        return endpoint

    @field_validator("auth")
    @classmethod
    def _check_auth(cls, auth: str, info: ValidationInfo) -> str:
        if auth == _SIGV4 and info.data.get("transport") == "aiomqtt":
            raise InvalidValue("needs mqtt.transport: awscrt, because aiomqtt signs no requests")
        return auth

    @field_validator("port")
    @classmethod
    def _check_port(cls, port: int, info: ValidationInfo) -> int:
        signed = info.data.get("auth") == _SIGV4 and is_aws(info.data.get("endpoint", ""))
        if signed and port != _WEBSOCKET_PORT:
            raise InvalidValue(
                "must be 443 with mqtt.auth: sigv4, the only port on which AWS IoT Core speaks MQTT"
                " over WebSocket",
                nearest="443",
            )
        return port

    @field_validator("server_name")
    @classmethod
    def _check_server_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and info.data.get("transport") == "awscrt":
            raise InvalidValue(
                "needs mqtt.transport: aiomqtt, because awscrt takes the name from mqtt.endpoint"
            )
        return name

    @field_validator("authorizer")
    @classmethod
    def _check_authorizer(
        cls, authorizer: AuthorizerSettings, info: ValidationInfo
    ) -> AuthorizerSettings:
        if not authorizer.empty and info.data.get("auth") in ("certificate", _SIGV4):
            raise InvalidValue("has no effect without mqtt.auth: custom")
        return authorizer

    @field_validator("username")
    @classmethod
    def _check_username(cls, username: str | None, info: ValidationInfo) -> str | None:
        if username == "":
            raise InvalidValue("must not be empty", nearest="null")
        auth, authorizer = info.data.get("auth"), info.data.get("authorizer")
        if username is not None and auth == _SIGV4:
            raise InvalidValue(_NO_LOGIN)
        if username and names_authorizer(username) and auth == "certificate":
            raise InvalidValue(
                "names a custom authorizer, which AWS IoT Core asks only with mqtt.auth: custom:"
                " set that"
            )
        if username is None and auth == "custom" and authorizer and authorizer.name is None:
            raise InvalidValue("is needed with mqtt.auth: custom, or else mqtt.authorizer.name")
        return username

    @field_validator("password", "password_file")
    @classmethod
    def _check_password(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("auth") == _SIGV4:
            raise InvalidValue(_NO_LOGIN)
        without_authorizer = info.data.get("auth") != "custom"
        if value is not None and info.data.get("username", "") is None and without_authorizer:
            raise InvalidValue("needs mqtt.username too")
        if value is not None and info.data.get("password") is not None:
            raise InvalidValue("must not be set together with mqtt.password: keep one of them")
        return value

    @field_validator("protocol")
    @classmethod
    def _check_protocol(cls, protocol: str, info: ValidationInfo) -> str:
        if protocol != "5" and info.data.get("transport") == "awscrt":
            raise InvalidValue("needs mqtt.transport: aiomqtt, because awscrt speaks MQTT 5 only")
        return protocol

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, tls: TlsSettings | None, info: ValidationInfo) -> TlsSettings | None:
        name, auth = info.data.get("server_name"), info.data.get("auth")
        _check_goes_with(tls, auth, info.data.get("transport"))
        on_aws = is_aws(name or info.data.get("endpoint", ""))
        if tls is None and (on_aws or auth == "custom"):
            raise InvalidValue("must name certificate files, as AWS IoT Core accepts TLS only")
        if tls is None and name is not None:
            raise InvalidValue("has no effect with mqtt.tls: false", key="mqtt.server_name")
        # A user name for an authorizer is reported by itself.
        connects = (info.context or {}).get(ENDPOINT_REQUIRED) and "username" in info.data
        if tls and tls.cert is None and on_aws and auth == "certificate" and connects:
            raise InvalidValue(
                "is null, and AWS IoT Core refuses clients without a certificate: name the files of"
                " certificate and key, or set mqtt.auth",
                key="mqtt.tls.cert",
            )
        return tls

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, proxy: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if proxy is not None and info.data.get("tls", "") is None:
            raise InvalidValue("needs mqtt.tls: through a proxy presenced connects by TLS only")
        return proxy

    @field_validator("proxy_password_file")
    @classmethod
    def _check_proxy_password(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if "proxy" in info.data:
            check_password_file(path, info.data["proxy"], "mqtt.proxy")
        return path

    @field_validator("connections")
    @classmethod
    def _check_connections(
        cls, connections: tuple[Connection, ...], info: ValidationInfo
    ) -> tuple[Connection, ...]:
        if overlaps := list(overlapping_filters(connections)):
            more = len(overlaps) - _SHOWN_OVERLAPS
            raise InvalidValue(
                "would deliver the same message twice, and count it twice: "
                + "; ".join(overlaps[:_SHOWN_OVERLAPS])
                + (f"; and {more} more" if more > 0 else "")
            )
        last = _client_ids(info.data.get("client_id", ""), len(connections))[-1]
        if utf8_length(last) > _MAX_CLIENT_ID:
            raise InvalidValue(
                f"makes the last client ID, {last}, longer than {_MAX_CLIENT_ID} bytes: shorten"
                " mqtt.client_id"
            )
        return connections
