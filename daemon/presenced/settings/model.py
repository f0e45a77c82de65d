"""The whole configuration as typed, validated values. Durations are read as seconds."""

import re
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from presenced.events.model import DISCONNECT_REASONS
from presenced.settings.aws import REGION_REQUIRED, AwsSettings, ReconcileSettings, region_of
from presenced.settings.mqtt import MqttSettings
from presenced.settings.problems import LONGEST_NAME, InvalidValue
from presenced.settings.values import (
    RESERVED,
    Duration,
    Flag,
    ListenAddress,
    Number,
    PathName,
    Section,
    check_allowed_host,
    file_default,
    format_duration,
    parse_listen,
)

_REASON = "^[A-Z][A-Z0-9_]*$"
# How many letters may differ for a name to count as misspelt.
_SLIP = 3

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
# "ThingAttributes" of CreateThing in the AWS IoT API reference.
_ATTRIBUTE = re.compile("[a-zA-Z0-9_.,@/:#-]{1,128}")


def _check_reason(text: str) -> str:
    if re.fullmatch(_REASON, text) is None:
        guess = re.sub("[^A-Z0-9]+", "_", text.upper())
        raise InvalidValue(
            "is not a disconnect reason, such as CONNECTION_LOST: capital letters and underscores",
            nearest=guess if guess in DISCONNECT_REASONS else _misspelt(guess),
        )
    if nearest := _misspelt(text):
        raise InvalidValue("is not a disconnect reason of AWS IoT Core", nearest=nearest)
    return text


def _misspelt(text: str) -> str | None:
    """Return the known reason from which a text differs by a few letters.

    AWS adds reasons, often variations of old ones (`API_INITIATED_DISCONNECT`), so likeness alone
    is not enough.
    """
    if text in DISCONNECT_REASONS or len(text) > LONGEST_NAME:
        return None
    for known in DISCONNECT_REASONS:
        likeness = SequenceMatcher(None, text, known).ratio()
        if round((1 - likeness) * (len(text) + len(known))) <= _SLIP:
            return known
    return None


def _check_client_pattern(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty; * matches every client")
    return text


Reason = Annotated[
    str, AfterValidator(_check_reason), WithJsonSchema({"type": "string", "pattern": _REASON})
]


class PresenceSettings(Section):
    """When a client counts as offline, and which clients count at all."""

    offline_delay: Duration = file_default("5s")
    """How long after a disconnect a client that does not come back counts as offline. Shorter
    interruptions are flaps: counted, but the client stays online. 0s means at once."""

    offline_delay_by_reason: Annotated[
        Mapping[Reason, Duration], Field(json_schema_extra={"additionalProperties": False})
    ] = file_default({})
    """Offline delays for single disconnect reasons of AWS IoT Core, instead of `offline_delay`. For
    example {CLIENT_INITIATED_DISCONNECT: 0s} makes clients that send DISCONNECT offline at
    once."""

    timestamp_accuracy: Duration = file_default("2m")
    """How far the timestamps of events may be from the truth. AWS IoT Core calls them an
    approximation and used to document 2 minutes. Used to decide which of two events is the later
    one."""

    version_reset_after: Duration = file_default("1h")
    """The shortest time offline after which the broker counts a client's connections from 0 again.
    About an hour at AWS IoT Core. Must be more than four times `timestamp_accuracy`."""

    forget_offline_after: Duration = file_default("30d")
    """How long a client may be offline before it is forgotten and its series end. An online client
    is never forgotten."""

    ignore_clients: tuple[Annotated[str, AfterValidator(_check_client_pattern)], ...] = (
        "iotconsole-*",
    )
    """Client IDs that presence leaves out, as shell-style patterns with *, ? and [...]. The default
    are the test clients of the AWS console. The daemon's own client IDs are always left out."""

    @field_validator("version_reset_after")
    @classmethod
    def _check_reset(cls, reset_after: float, info: ValidationInfo) -> float:
        accuracy = info.data.get("timestamp_accuracy", 0.0)
        if reset_after <= 4 * accuracy:
            raise InvalidValue(
                "must be more than four times presence.timestamp_accuracy, here"
                f" {format_duration(4 * accuracy)}: otherwise a version that restarts looks the"
                " same as a wrong timestamp"
            )
        return reset_after

    @field_validator("forget_offline_after")
    @classmethod
    def _check_forget(cls, seconds: float) -> float:
        if seconds <= 0:
            raise InvalidValue("must be more than 0s; write 36500d to never forget a client")
        return seconds


def _check_listen(value: Any) -> str:
    # YAML reads `9883` as a number: it gets an explanation of its own.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidValue("must be HOST:PORT, or :PORT for every interface", nearest='":9883"')
    parse_listen(str(value))
    return str(value)


def _compile_pattern(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        pattern = re.compile(value)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        hint = "; a named group is written (?P<name>...)" if "?<" in error.msg else ""
        raise InvalidValue(f"is not a regular expression: {error.msg}{place}{hint}") from error
    except (RecursionError, OverflowError) as error:
        raise InvalidValue("is too complex for a regular expression: simplify it") from error
    if not pattern.groupindex:
        raise InvalidValue(
            "has no named group, so it has no effect: name each part that should become a label,"
            " such as (?P<site>[a-z]+)-.*"
        )
    for name in pattern.groupindex:
        if _LABEL.fullmatch(name) is None or name.startswith("__"):
            raise InvalidValue(
                f"has the group {name}, which is not a valid name of a Prometheus label"
            )
        if name in RESERVED:
            raise InvalidValue(
                f"has the group {name}, but presenced or Prometheus sets that label itself"
            )
    return pattern


def _check_attribute(text: str) -> str:
    if _ATTRIBUTE.fullmatch(text) is None:
        raise InvalidValue("is not an attribute name of AWS IoT: 1 to 128 of a-z A-Z 0-9 _.,@/:#-")
    return text


Listen = Annotated[str, BeforeValidator(_check_listen)]


class MetricsSettings(Section):
    """Where metrics are served, and which series each client has."""

    listen: Listen = ":9883"
    """Address of the HTTP listener that Prometheus scrapes: "HOST:PORT", or ":PORT" for every
    interface, or "[::1]:9883" for IPv6. "[::]:9883" serves IPv4 too. Port 0 is any free port."""

    per_client: Flag = True
    """Whether each client has series of its own, such as iot_client_connected. Without them only
    totals are served."""

    max_clients: Annotated[Number, Field(ge=0)] = 20000
    """How many clients may have series of their own. Totals include the clients beyond it, and
    presenced_clients_without_series is their number. The clients that came first have series, with
    a state file also after a restart. When one of them is forgotten, the client that has waited
    longest gets its place. A client that AWS's record showed offline, without any event since,
    gives its place to one that has events. A client ID of more than 128 bytes in UTF-8, AWS IoT
    Core's own limit, has no series."""

    client_id_pattern: Annotated[re.Pattern[str] | None, BeforeValidator(_compile_pattern)] = None
    """Regular expression (Python's) for client IDs with a structure, such as
    (?P<site>[a-z]+)-(?P<line>[0-9]+)-.*: its named groups become labels of the series of each
    client and of iot_class_clients."""

    thing_attributes: tuple[Annotated[str, AfterValidator(_check_attribute)], ...] = ()
    """Attributes of things in the AWS IoT registry that become labels of iot_client_info. What
    Prometheus does not allow in a label's name becomes an underscore: site-id is site_id."""

    web_config: PathName | None = None
    """Web configuration file in the format of the Prometheus exporter toolkit, for TLS and basic
    authentication of the listener. It is read again when it changes, as are the certificate files
    that it names."""

    health_listen: Listen | None = None
    """A second address, for /-/healthy and /-/ready alone, which web_config does not protect: for
    checks that have no password or client certificate. "127.0.0.1:9884" is for those on the same
    machine or in the same container; the probes of Kubernetes come to the address of the pod and
    need ":9884"."""

    allowed_hosts: tuple[Annotated[str, AfterValidator(check_allowed_host)], ...] = ()
    """Further host names by which browsers and users of the API may call the listener, such as that
    of a reverse proxy or of a Kubernetes service: names, *.DOMAIN, or * for any. Addresses,
    localhost, and the names of the machine are always allowed. Otherwise a web page could read the
    API by a name that it points at the listener (DNS rebinding). Scrapes and health checks may use
    any name, and with TLS the certificate decides."""

    enable_reload_endpoint: Flag = False
    """Whether POST /-/reload reloads the configuration, as SIGHUP does. Every client that may
    scrape may then reload."""

    api: Flag = True
    """Whether the listener answers below /api/v1/ too: the clients, their history and their
    transitions as they happen, as JSON. Without it none of the data for that is kept."""

    @property
    def listen_address(self) -> ListenAddress:
        """Host and port of `listen`."""
        return parse_listen(self.listen)

    @property
    def health_address(self) -> ListenAddress | None:
        """Host and port of `health_listen`, None if there is none."""
        return None if self.health_listen is None else parse_listen(self.health_listen)

    @field_validator("health_listen")
    @classmethod
    def _check_health_listen(cls, listen: str | None, info: ValidationInfo) -> str | None:
        metrics = info.data.get("listen")
        if listen and metrics and parse_listen(metrics).overlaps(parse_listen(listen)):
            raise InvalidValue(f"uses the address of metrics.listen, {metrics}: set another port")
        return listen

    @field_validator("thing_attributes")
    @classmethod
    def _check_attributes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise InvalidValue(f"names {', '.join(repeated)} more than once")
        return names


class HistorySettings(Section):
    """How much the API remembers of the events of each client, in memory: see `metrics.api`."""

    clients: Annotated[Number, Field(ge=0)] = 10_000
    """How many clients have a history: those with the latest events. The history of a client takes
    about 250 bytes, and 250 more for each of its events."""

    per_client: Annotated[Number, Field(ge=1, le=1000)] = 20
    """How many events of each of them are remembered: the last ones, including those that were
    ignored."""


class StateSettings(Section):
    """State that outlives a restart."""

    path: PathName | None = None
    """SQLite file that keeps presence across restarts. null is $STATE_DIRECTORY/presenced.db if
    systemd sets that variable; otherwise nothing is kept."""

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


class Settings(Section):
    """The configuration of presenced.

    Every key can be overridden by an environment variable: PRESENCED_ and the key's path joined
    by __, such as PRESENCED_MQTT__ENDPOINT.
    """

    mqtt: MqttSettings = file_default({})
    presence: PresenceSettings = file_default({})
    aws: AwsSettings = file_default({})
    reconcile: ReconcileSettings = file_default({})
    metrics: MetricsSettings = file_default({})
    history: HistorySettings = file_default({})
    state: StateSettings = file_default({})
    log: LogSettings = file_default({})

    @field_validator("aws")
    @classmethod
    def _check_client_certificate(cls, aws: AwsSettings, info: ValidationInfo) -> AwsSettings:
        mqtt: MqttSettings | None = info.data.get("mqtt")
        if aws.role_alias and mqtt and not (mqtt.tls and mqtt.tls.cert):
            raise InvalidValue(
                "needs a client certificate: set mqtt.tls.cert and mqtt.tls.key",
                key="aws.role_alias",
            )
        return aws

    @field_validator("reconcile")
    @classmethod
    def _check_region(cls, reconcile: ReconcileSettings, info: ValidationInfo) -> ReconcileSettings:
        aws: AwsSettings | None = info.data.get("aws")
        mqtt: MqttSettings | None = info.data.get("mqtt")
        # A missing endpoint is reported by itself.
        if not (reconcile.enabled and aws and mqtt and mqtt.endpoint):
            return reconcile
        if region_of(aws, mqtt.endpoint) is None:
            raise InvalidValue(REGION_REQUIRED, key="aws.region")
        return reconcile
