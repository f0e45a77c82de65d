"""Values as people write them: paths, durations, host names, listen addresses.

A validator raises InvalidValue, a ValueError, with what to write instead.
"""

import re
from ipaddress import AddressValueError, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from presenced.settings.problems import InvalidValue

RESERVED = frozenset({"client_id", "thing_type", "state", "le", "quantile"})
"""Labels that presenced sets itself, and those of Prometheus's histograms and summaries."""


class Section(BaseModel):
    """A mapping in a configuration file: only known keys, immutable once read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        # Rules about two keys apply to defaults too.
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        # A section whose keys are all commented out is null in YAML.
        return {} if value is None else value


def file_default(value: Any) -> Any:
    """Return a field whose default is written as in the file, such as "5m"."""
    return Field(default=value)


def utf8_length(text: str) -> int:
    """Return the length of a text in an MQTT packet, in bytes (MQTT 5 section 1.5.4)."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidValue("contains an unpaired surrogate, which is not a character") from error
    if "\0" in text:
        raise InvalidValue("must not contain a NUL character")
    return length


def _check_path(value: Any) -> Any:
    if isinstance(value, str) and utf8_length(value) == 0:
        raise InvalidValue("must not be empty")
    return value


def check_shell_pattern(text: str) -> str:
    """Return a pattern with *, ? and [...]."""
    if not text:
        raise InvalidValue("must not be empty; * matches everything")
    return text


Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
PathName = Annotated[Path, BeforeValidator(_check_path)]


# Durations

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST = 36525 * _SECONDS["d"]
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_WORDS = re.compile(
    r"(?P<ms>milliseconds?|millis|msecs?)|(?P<s>seconds?|secs?)|(?P<m>minutes?|mins?)"
    r"|(?P<h>hours?|hrs?)|(?P<d>days?)"
)

DURATION_PATTERN = "^(0|(?=[0-9])" + "".join(f"({_NUMBER}{unit})?" for unit in _SECONDS) + ")$"
"""Every duration, as a regular expression that Python and JSON Schema both understand."""


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `1h30m`.

    Units are d, h, m, s and ms, each at most once and the largest first; `0` needs none.
    """
    if re.fullmatch(DURATION_PATTERN, text) is None:
        raise _not_a_duration(text)
    parts = re.findall(rf"({_NUMBER})([a-z]+)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, _, unit in parts)
    if seconds > _LONGEST:
        raise InvalidValue("is more than 100 years")
    return seconds


def _not_a_duration(text: str) -> InvalidValue:
    plain = text.strip()
    if plain.startswith("-"):
        return InvalidValue("must not be negative")
    if re.fullmatch(_NUMBER, plain):
        return InvalidValue(f"has no unit: write {plain}s if seconds are meant")
    guess = _WORDS.sub(lambda word: str(word.lastgroup), plain.lower().replace(" ", ""))
    nearest = guess if re.fullmatch(DURATION_PATTERN, guess) else None
    return InvalidValue(
        "is not a duration: write it as 500ms, 5s, 2m, 1h30m or 30d", nearest=nearest
    )


def format_duration(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it, to the nearest millisecond."""
    rest = round(seconds * 1000)
    parts = []
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read_duration(value: Any) -> float:
    # YAML reads `5` as a number, which gets the same explanation as the text "5".
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return parse_duration("0" if is_number and not value else str(value))


Duration = Annotated[
    float,
    BeforeValidator(_read_duration),
    # `pattern` applies to strings only, and the limits to numbers only.
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": DURATION_PATTERN, "minimum": 0, "maximum": 0}
    ),
]
"""A field that is written as a duration and read as seconds."""


def within(least: str, longest: str, *, whole: bool = False) -> AfterValidator:
    """Restrict a `Duration` to a range and, with `whole`, to whole seconds."""

    def check(seconds: float) -> float:
        if not parse_duration(least) <= seconds <= parse_duration(longest):
            raise InvalidValue(f"must be from {least} to {longest}")
        if whole and not seconds.is_integer():
            raise InvalidValue("must be whole seconds")
        return seconds

    return AfterValidator(check)


# Host names and listen addresses

HOW_TO_FIND_ENDPOINT = (
    "set it to your broker's host name; for AWS IoT Core run"
    " `aws iot describe-endpoint --endpoint-type iot:Data-ATS`"
)
DEMO_LISTEN = "127.0.0.1:9883"
"""Where the daemon of the demo listens by default."""

_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(\.{_LABEL})*\.?")
_LISTEN = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^:\[\]]*)):(?P<port>[0-9]+)")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


def check_endpoint(value: Any) -> str:
    """Return the host name or address of a broker, or the empty text for none.

    A name is returned in lower case without the dot at its end, as TLS needs it (RFC 6066 section
    3).
    """
    if not isinstance(value, str):
        raise InvalidValue(f"must be a host name: {HOW_TO_FIND_ENDPOINT}")
    if value == "" or _is_ipv6(value):
        return value
    if _NAME.fullmatch(value):
        return value.lower().removesuffix(".")
    rule = "must be a host name alone, without scheme, port or path"
    try:
        url = urlsplit(value.strip() if "://" in value else f"//{value.strip()}")
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    if not is_host(host):
        raise InvalidValue(f"{rule}: {HOW_TO_FIND_ENDPOINT}")
    # urlsplit makes names lower-case; show the spelling of the file.
    start = value.lower().find(host)
    host = value[start : start + len(host)]
    raise InvalidValue(f"{rule}: write {host}" + (f" and mqtt.port: {port}" if port else ""))


def check_allowed_host(text: str) -> str:
    """Return a host name that may stand in a `Host` header, `*.DOMAIN`, or `*` for any."""
    if text == "*" or _NAME.fullmatch(text.removeprefix("*.")):
        return text
    rule = "must be a host name alone, *.DOMAIN, or * for any"
    try:
        host = urlsplit(text.strip() if "://" in text else f"//{text.strip()}").hostname or ""
    except ValueError:
        host = ""
    raise InvalidValue(rule, nearest=host if _NAME.fullmatch(host) else None)


class ListenAddress(NamedTuple):
    """Where to listen: `host` None means every interface, `port` 0 a free port."""

    host: str | None
    port: int

    @property
    def reachable_host(self) -> str:
        """The host by which this machine reaches the listener."""
        host = self.host or "127.0.0.1"
        # A machine need not have an IPv6 address, not even on the loopback interface.
        return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - not bound

    def overlaps(self, other: "ListenAddress") -> bool:
        """Return whether only one of two listeners can have its address."""
        hosts = {self.host, other.host}
        # No host and `::` are every interface, with both families.
        same_host = len(hosts) == 1 or bool(hosts & {None, "::"})
        if "0.0.0.0" in hosts:  # noqa: S104 - not bound
            same_host |= not any(":" in host for host in hosts if host)
        return same_host and self.port == other.port != 0


def parse_listen(text: str) -> ListenAddress:
    """Return the parts of `HOST:PORT`, `[IPV6]:PORT` or `:PORT`."""
    match = _LISTEN.fullmatch(text)
    if match is None:
        raise _not_a_listen_address(text)
    port = _parse_port(match["port"])
    if match["ipv6"] is not None:
        if not _is_ipv6(match["ipv6"]):
            raise InvalidValue("must have an IPv6 address between the brackets, such as [::1]:9883")
        return ListenAddress(match["ipv6"], port)
    if match["name"] and _NAME.fullmatch(match["name"]) is None:
        raise InvalidValue("must have a host name before the colon, or nothing for every interface")
    return ListenAddress(match["name"] or None, port)


def _parse_port(digits: str) -> int:
    # By length first: Python converts no more than some thousand digits.
    significant = digits.lstrip("0") or "0"
    if len(significant) > len(str(_LAST_PORT)) or int(significant) > _LAST_PORT:
        raise InvalidValue(f"must have a port from 0 to {_LAST_PORT}")
    return int(significant)


def _not_a_listen_address(text: str) -> InvalidValue:
    rule = "must be HOST:PORT, or :PORT for every interface"
    bare = text.partition("://")[2].rstrip("/") if "://" in text else text.strip()
    if re.fullmatch("[0-9]+", bare):
        return InvalidValue(rule, nearest=f'":{_parse_port(bare)}"')
    if match := _LISTEN.fullmatch(bare):
        _parse_port(match["port"])
        return InvalidValue(rule, nearest=bare)
    if bare.count(":") > 1:
        address = bare.strip("[]")
        nearest = f"[{address}]:9883" if _is_ipv6(address) else None
        return InvalidValue(
            f"{rule}; an IPv6 address stands in brackets, such as [::1]:9883", nearest=nearest
        )
    return InvalidValue(rule, nearest=f"{bare}:9883" if _NAME.fullmatch(bare) else None)


def is_host(text: str) -> bool:
    """Return whether a text is a host name or an IP address, IPv6 without brackets."""
    return _NAME.fullmatch(text) is not None or _is_ipv6(text)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def split_host_port(text: str) -> tuple[str, int] | None:
    """Return the parts of `HOST:PORT`, an IPv6 address without its brackets.

    None if the text has another form, or names no host and port that may exist.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or int(match["port"]) > _LAST_PORT:
        return None
    host = match["host"].removeprefix("[").removesuffix("]")
    return (host, int(match["port"])) if is_host(host) else None


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: an IPv6 address is in brackets (RFC 3986)."""
    return f"[{host}]" if ":" in host else host


def host_port(host: str, port: int) -> str:
    """Return `HOST:PORT`; an IPv6 address is in brackets."""
    return f"{bracketed(host)}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
