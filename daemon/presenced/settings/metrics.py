"""The settings of what Prometheus sees."""

import re
from collections import Counter
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from presenced.metrics.labels import RESERVED
from presenced.settings.base import Flag, Number, PathName, Section
from presenced.settings.hosts import ListenAddress, parse_listen
from presenced.settings.problems import InvalidValue

__all__ = ["MetricsSettings"]

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
# "ThingAttributes" of CreateThing in the AWS IoT API reference.
_ATTRIBUTE = re.compile("[a-zA-Z0-9_.,@/:#-]{1,128}")


def _listen(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidValue("must be HOST:PORT, or :PORT for every interface", nearest='":9883"')
    parse_listen(str(value))
    return str(value)


def _optional_listen(value: Any) -> str | None:
    return None if value is None else _listen(value)


def _client_id_pattern(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        pattern = re.compile(value)
    except re.error as error:
        raise InvalidValue(_explain(error)) from error
    _check_labels(pattern)
    return pattern


def _explain(error: re.error) -> str:
    place = f" at character {error.pos + 1}" if error.pos is not None else ""
    hint = "; a named group is written (?P<name>...)" if "?<" in error.msg else ""
    return f"is not a regular expression: {error.msg}{place}{hint}"


def _check_labels(pattern: re.Pattern[str]) -> None:
    if not pattern.groupindex:
        raise InvalidValue(
            "has no named group, and so no effect: name what shall become a label, such as"
            " (?P<site>[a-z]+)-.*"
        )
    for name in pattern.groupindex:
        if _LABEL.fullmatch(name) is None or name.startswith("__"):
            raise InvalidValue(f"has the group {name}, which is no name for a Prometheus label")
        if name in RESERVED:
            raise InvalidValue(f"has the group {name}, but that label has a meaning already")


def _attribute(text: str) -> str:
    if _ATTRIBUTE.fullmatch(text) is None:
        raise InvalidValue("is no attribute name of AWS IoT: 1 to 128 of a-z A-Z 0-9 _.,@/:#-")
    return text


class MetricsSettings(Section):
    """Where metrics are served, and which series there are per client."""

    listen: Annotated[str, BeforeValidator(_listen)] = ":9883"
    """Address of the HTTP listener that Prometheus scrapes: "HOST:PORT", or ":PORT" for every
    interface, or "[::1]:9883" for IPv6. Port 0 takes a free one."""

    per_client: Flag = True
    """Whether each client has series of its own, such as iot_client_connected. Without them only
    totals are served."""

    max_clients: Annotated[Number, Field(ge=0)] = 20000
    """How many clients may have series of their own. Totals count those beyond it too, and
    presenced_clients_without_series tells how many they are. The first by client ID have series, so
    that it is the same clients after a restart, and those of a second daemon; one that is new among
    them takes the place of the last."""

    client_id_pattern: Annotated[re.Pattern[str] | None, BeforeValidator(_client_id_pattern)] = None
    """Regular expression (Python's) for client IDs that tell something, such as
    (?P<site>[a-z]+)-(?P<line>[0-9]+)-.*: its named groups become labels of the series of each
    client and of iot_class_clients."""

    thing_attributes: tuple[Annotated[str, AfterValidator(_attribute)], ...] = ()
    """Attributes of things in the AWS IoT registry that become labels of iot_client_info. What
    Prometheus does not allow in a label's name becomes an underscore: site-id is site_id."""

    web_config: PathName | None = None
    """Web configuration file in the format of the Prometheus exporter toolkit, for TLS and basic
    authentication of the listener. It is watched, as are the certificate files that it names."""

    health_listen: Annotated[str | None, BeforeValidator(_optional_listen)] = None
    """A second address, for /-/healthy and /-/ready alone, which web_config does not protect:
    for local checks, such as "127.0.0.1:9884", that have no password or client certificate."""

    enable_reload_endpoint: Flag = False
    """Whether POST /-/reload reloads the configuration, as SIGHUP does. Everybody who may scrape
    may then reload."""

    api: Flag = True
    """Whether the listener answers below /api/v1/ too: the clients, their history and their
    transitions as they happen, as JSON. Without it none of what that needs is kept."""

    @property
    def listen_address(self) -> ListenAddress:
        """Host and port of `listen`."""
        return parse_listen(self.listen)

    @property
    def health_address(self) -> ListenAddress | None:
        """Host and port of `health_listen`, None where there is none."""
        return None if self.health_listen is None else parse_listen(self.health_listen)

    @field_validator("thing_attributes")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise InvalidValue(f"names {', '.join(repeated)} more than once")
        return names
