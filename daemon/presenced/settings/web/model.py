"""What the web configuration file may hold."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from presenced.settings.base import Flag, Number, Section, written
from presenced.settings.durations import Duration
from presenced.settings.problems import InvalidValue
from presenced.settings.web.tls import TlsServerConfig

__all__ = ["HttpServerConfig", "RateLimit", "WebConfig"]

# 16 bytes of salt and 23 of hash; of the salt's last character only two bits count.
_HASH = re.compile(r"\$2[abxy]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_LEAST_COST, _MOST_COST = 4, 14
# The headers that the exporter toolkit lets one set, and their values where those are enumerated.
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def _bcrypt_hash(secret: SecretStr) -> SecretStr:
    match = _HASH.fullmatch(secret.get_secret_value())
    if match is None:
        raise InvalidValue(
            "is no bcrypt hash, which begins with $2y$ or $2b$ and has 60 characters: make one with"
            " `htpasswd -nBC 10 \"\" | tr -d ':\\n'`"
        )
    cost = int(match["cost"])
    if not _LEAST_COST <= cost <= _MOST_COST:
        raise InvalidValue(
            f"has the cost {cost}: it must be from {_LEAST_COST} to {_MOST_COST}, for more makes a"
            " check take seconds; 10 is usual"
        )
    return secret


def _header(name: str) -> str:
    if name not in _HEADERS:
        nearest = get_close_matches(name.title(), _HEADERS, n=1, cutoff=0.6)
        raise InvalidValue(
            f"cannot be set; headers that can are {', '.join(_HEADERS)}",
            nearest=nearest[0] if nearest else None,
        )
    return name


def _number_as_text(value: Any) -> Any:
    # `X-XSS-Protection: 0` is how everybody writes it.
    return str(value) if type(value) is int else value


def _check_value(name: str, value: str) -> None:
    choices = _HEADERS[name]
    if choices and value not in choices:
        raise InvalidValue(f"has {name}: {value!r}, which must be {' or '.join(choices)}")
    if _PRINTABLE.fullmatch(value) is None:
        raise InvalidValue(f"has {name}, whose value must be printable ASCII on one line")


class HttpServerConfig(Section):
    """What concerns HTTP alone."""

    http2: Flag = True
    """Whether HTTP/2 may be spoken. presenced speaks HTTP/1.1 only, which clients fall back to."""

    headers: Mapping[
        Annotated[str, AfterValidator(_header)], Annotated[str, BeforeValidator(_number_as_text)]
    ] = Field(default_factory=dict)
    """Headers that every response carries; an empty value stands for none."""

    @field_validator("headers")
    @classmethod
    def _possible_values(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        present = {name: value for name, value in headers.items() if value}
        for name, value in present.items():
            _check_value(name, value)
        return present


class RateLimit(Section):
    """How often requests are answered, as a token bucket; beyond it the answer is 429."""

    interval: Duration = written("0s")
    """Time in which one request is allowed, in the long run; 0 for no limit."""

    burst: Annotated[Number, Field(ge=0)] = 0
    """Requests that are allowed at once, after silence."""

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.interval and not self.burst:
            raise InvalidValue("has an interval but no burst, and would allow nothing: set burst")
        return self


class WebConfig(Section):
    """How the listener is protected."""

    tls_server_config: TlsServerConfig | None = None
    """TLS; without this section the listener speaks plain HTTP."""

    http_server_config: HttpServerConfig = written({})
    """HTTP."""

    rate_limit: RateLimit = written({})
    """Limit of all requests together."""

    basic_auth_users: Mapping[str, Annotated[SecretStr, AfterValidator(_bcrypt_hash)]] = Field(
        default_factory=dict
    )
    """bcrypt hashes of passwords by user name; empty for no authentication."""

    @field_validator("http_server_config", "rate_limit", "basic_auth_users", mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # A section whose keys are all commented out is null in YAML.
        return {} if value is None else value

    @field_validator("basic_auth_users")
    @classmethod
    def _possible_names(cls, users: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name in users:
            # RFC 7617: the first colon ends the name.
            if ":" in name or not name.isprintable():
                raise InvalidValue(f"has the user {name!r}: a name holds no colon and no controls")
        return users
