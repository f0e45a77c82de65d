"""The section `metrics`: where metrics are served, and which series there are."""

import re
from collections import Counter
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from presenced.settings.patterns import compile_pattern
from presenced.settings.problems import InvalidValue
from presenced.settings.values import (
    RESERVED,
    Flag,
    ListenAddress,
    Number,
    PathName,
    Section,
    check_allowed_host,
    check_shell_pattern,
    parse_listen,
)

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
# "ThingAttributes" of CreateThing in the AWS IoT API reference.
_ATTRIBUTE = re.compile("[a-zA-Z0-9_.,@/:#-]{1,128}")


def _check_listen(value: Any) -> str:
    # YAML reads `9883` as a number: it gets an explanation of its own.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidValue("must be HOST:PORT, or :PORT for every interface", nearest='":9883"')
    parse_listen(str(value))
    return str(value)


def _compile_pattern(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pattern = compile_pattern(value)
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

    thing_groups: tuple[Annotated[str, AfterValidator(check_shell_pattern)], ...] = ("*",)
    """Thing groups that have series of their own, as shell-style patterns with *, ? and [...]. With
    many groups it bounds the series: with Kafka there are as many as groups, states and partitions
    multiplied. An empty list is no group."""

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
