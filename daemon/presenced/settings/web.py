"""The web configuration file: how the listener is protected, as Prometheus's exporters define it.

The format is that of the Prometheus exporter toolkit (docs/web-configuration.md there); our
docs/reference/web-configuration.md describes each key. A key that presenced does not support is
rejected by name, never silently ignored.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from presenced.settings.files import FileSnapshot
from presenced.settings.keys import keys_of
from presenced.settings.problems import InvalidValue, closest
from presenced.settings.values import Duration, Flag, Number, PathName, Section, file_default
from presenced.settings.yaml_file import read_yaml

WEB_CONFIG_KEY = "metrics.web_config"
"""The key of the configuration that names the file."""

CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Cipher suites of TLS up to 1.2: Go's name (crypto/tls), as in the file, and OpenSSL's."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Elliptic curves: Go's name and OpenSSL's."""

CLIENT_AUTH_TYPES = (
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)
"""What may be required of clients, from the weakest to the strongest."""

_TLS13 = ("TLS_AES_", "TLS_CHACHA20_")
_VERIFY = "RequireAndVerifyClientCert"
_UNVERIFIED = {
    "RequestClientCert": "VerifyClientCertIfGiven",
    "RequireAnyClientCert": _VERIFY,
    "RequireClientCert": _VERIFY,
}
# 16 bytes of salt and 23 of hash; of the salt's last character only two bits count.
_HASH = re.compile(r"\$2[abxy]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_LOWEST_COST, _HIGHEST_COST = 4, 14
# The headers that the exporter toolkit allows, and their values if those are enumerated.
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def _supported(what: str, known: Mapping[str, object]) -> AfterValidator:
    """Restrict a name to known ones."""

    def check(name: str) -> str:
        if name in known:
            return name
        if name.startswith(_TLS13):
            raise InvalidValue("is of TLS 1.3, whose suites cannot be chosen: leave it out")
        message = f"is not a supported {what}; supported are {', '.join(known)}"
        raise InvalidValue(message, nearest=closest(name, known))

    return AfterValidator(check)


def _check_curves(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > 1:
        raise InvalidValue("must name one curve only: Python's TLS library does not accept several")
    return names


def _check_client_auth(value: Any) -> Any:
    if isinstance(value, str) and value in _UNVERIFIED:
        raise InvalidValue(
            "is not supported: it accepts unverified certificates, which anyone can create;"
            f" use {_UNVERIFIED[value]} with client_ca_file"
        )
    return value


class TlsServerConfig(Section):
    """TLS of the listener: its certificate, and which certificates clients must have."""

    # PEM text, or the file that contains it.
    cert: str | None = None
    key: SecretStr | None = None
    client_ca: str | None = None
    cert_file: PathName | None = None
    key_file: PathName | None = None
    client_ca_file: PathName | None = None

    client_auth_type: Annotated[
        Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"],
        BeforeValidator(_check_client_auth),
    ] = "NoClientCert"
    client_allowed_sans: tuple[str, ...] = ()
    """Subject alternative names (DNS, IP, e-mail or URI): a client's certificate must have one of
    them. Empty for no restriction."""

    min_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS13"

    cipher_suites: tuple[Annotated[str, _supported("cipher suite", CIPHER_SUITES)], ...] = ()
    prefer_server_cipher_suites: Flag = True
    curve_preferences: Annotated[
        tuple[Annotated[str, _supported("curve", CURVES)], ...], AfterValidator(_check_curves)
    ] = ()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for name in ("cert", "key", "client_ca"):
            inline, file = getattr(self, name), getattr(self, f"{name}_file")
            if inline is not None and file is not None:
                raise InvalidValue(f"has both {name} and {name}_file: leave one of them out")
            if inline is None and file is None and name != "client_ca":
                raise InvalidValue(
                    f"lacks {name}_file; leave tls_server_config out to serve without TLS"
                )
        authorities = self.client_ca is not None or self.client_ca_file is not None
        requested = self.client_auth_type != "NoClientCert"
        if authorities and not requested:
            raise InvalidValue(
                "has authorities for client certificates, but requests none: set"
                f" client_auth_type: {_VERIFY}"
            )
        if requested and not authorities:
            raise InvalidValue(
                f"has client_auth_type: {self.client_auth_type}, which needs client_ca_file"
            )
        if self.client_allowed_sans and self.client_auth_type != _VERIFY:
            raise InvalidValue(f"has client_allowed_sans, which needs client_auth_type: {_VERIFY}")
        # The names sort as the versions do.
        if self.max_version < self.min_version:
            raise InvalidValue(
                f"has a max_version, {self.max_version}, below its min_version, {self.min_version}"
            )
        if self.cipher_suites and self.min_version == "TLS13":
            raise InvalidValue("has cipher_suites, which have no effect on TLS 1.3 alone")
        return self


def _check_hash(secret: SecretStr) -> SecretStr:
    match = _HASH.fullmatch(secret.get_secret_value())
    if match is None:
        raise InvalidValue(
            "is not a bcrypt hash, which begins with $2y$ or $2b$ and has 60 characters: create one"
            " with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`"
        )
    cost = int(match["cost"])
    if not _LOWEST_COST <= cost <= _HIGHEST_COST:
        raise InvalidValue(
            f"has the cost {cost}: it must be from {_LOWEST_COST} to {_HIGHEST_COST}, because with"
            " a higher one a check takes seconds; 10 is usual"
        )
    return secret


def _number_as_text(value: Any) -> Any:
    # `X-XSS-Protection: 0` is usually written without quotes.
    return str(value) if type(value) is int else value


class HttpServerConfig(Section):
    """Settings of HTTP."""

    http2: Flag = True
    """Whether HTTP/2 may be spoken. presenced speaks HTTP/1.1 only, which clients fall back to."""

    headers: Mapping[
        Annotated[str, _supported("header", _HEADERS)],
        Annotated[str, BeforeValidator(_number_as_text)],
    ] = {}
    """Headers that every response carries; one with an empty value is left out."""

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        present = {name: value for name, value in headers.items() if value}
        for name, value in present.items():
            choices = _HEADERS[name]
            if choices and value not in choices:
                raise InvalidValue(f"has {name}: {value!r}, which must be {' or '.join(choices)}")
            if _PRINTABLE.fullmatch(value) is None:
                raise InvalidValue(f"has {name}, whose value must be printable ASCII on one line")
        return present


class RateLimit(Section):
    """How often requests are answered, as a token bucket; beyond it the answer is 429."""

    interval: Duration = file_default("0s")
    """Average time between requests; 0 for no limit."""

    burst: Annotated[Number, Field(ge=0)] = 0
    """Requests that are allowed at once, after a pause."""

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.interval and not self.burst:
            raise InvalidValue("has an interval but no burst, and would allow nothing: set burst")
        return self


class WebConfig(Section):
    """How the listener is protected."""

    tls_server_config: TlsServerConfig | None = None
    """Without this section the listener speaks plain HTTP."""

    http_server_config: HttpServerConfig = file_default({})
    rate_limit: RateLimit = file_default({})
    basic_auth_users: Annotated[
        Mapping[str, Annotated[SecretStr, AfterValidator(_check_hash)]],
        BeforeValidator(lambda users: {} if users is None else users),
    ] = {}
    """bcrypt hashes of passwords by user name; empty for no authentication."""

    @field_validator("basic_auth_users")
    @classmethod
    def _check_names(cls, users: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name in users:
            # RFC 7617: the first colon ends the name.
            if ":" in name or not name.isprintable():
                raise InvalidValue(
                    f"has the user {name!r}: a name must not contain colons or control characters"
                )
        return users


KEYS = keys_of(WebConfig)
"""Every key of the web configuration file by its dotted path."""


def read_web_config(path: Path, snapshot: FileSnapshot | None = None) -> WebConfig:
    """Read the web configuration file; relative paths in it are relative to the file.

    Raises SettingsError with everything that is wrong with it. Files that it names are not read.
    """
    content = (snapshot or FileSnapshot()).read(path, WEB_CONFIG_KEY)
    return read_yaml(content, path, KEYS).validate(WebConfig)
