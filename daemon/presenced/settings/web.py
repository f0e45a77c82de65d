"""The web configuration file: how the listener is protected, as Prometheus's exporters write it.

The format is that of the Prometheus exporter toolkit (docs/web-configuration.md there). A key that
presenced cannot honour is refused by name and never left without effect.

Cipher suites and curves as Go calls them, and what OpenSSL calls them.

The names are those that the exporter toolkit takes: `tls.CipherSuites()` and the curves of Go's
crypto/tls.

The section `tls_server_config` of the web configuration file.

What the web configuration file may hold.

From the web configuration file to its model.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from presenced.settings.keys import keys_of, problems_of
from presenced.settings.problems import InvalidValue, SettingsError, read_named_file
from presenced.settings.values import Duration, Flag, Number, PathName, Section, written
from presenced.settings.yaml_file import read_file

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
"""Cipher suites of TLS up to 1.2 that can be chosen."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Elliptic curves that can be chosen."""

_TLS13 = ("TLS_AES_", "TLS_CHACHA20_")


def cipher_suite(name: str) -> str:
    """Return a cipher suite that can be chosen; raises ValueError for any other name."""
    if name.startswith(_TLS13):
        raise InvalidValue("is of TLS 1.3, whose suites cannot be chosen: leave it out")
    return _known(name, CIPHER_SUITES, "cipher suite")


def curve(name: str) -> str:
    """Return a curve that can be chosen; raises ValueError for any other name."""
    return _known(name, CURVES, "curve")


def _known(name: str, known: Mapping[str, str], what: str) -> str:
    if name in known:
        return name
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    raise InvalidValue(
        f"is no {what} that can be chosen" + ("" if nearest else f": known are {', '.join(known)}"),
        nearest=nearest[0] if nearest else None,
    )


ClientAuth = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]
TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]

_VERIFY = "RequireAndVerifyClientCert"
_UNVERIFIED = {
    "RequestClientCert": "VerifyClientCertIfGiven",
    "RequireAnyClientCert": _VERIFY,
    "RequireClientCert": _VERIFY,
}


def _client_auth(value: Any) -> Any:
    if isinstance(value, str) and value in _UNVERIFIED:
        raise InvalidValue(
            "is not served: it takes certificates that nobody verified, which anybody can make;"
            f" use {_UNVERIFIED[value]} with client_ca_file"
        )
    return value


def _one_curve(curves: tuple[str, ...]) -> tuple[str, ...]:
    if len(curves) > 1:
        raise InvalidValue(
            "must name one curve only: Python's TLS library cannot be given an order of several"
        )
    return curves


class TlsServerConfig(Section):
    """TLS of the listener: its certificate, and which certificates it wants of clients."""

    cert: str | None = None
    """The certificate itself, in PEM format, instead of `cert_file`."""

    key: SecretStr | None = None
    """The private key itself, in PEM format, instead of `key_file`."""

    client_ca: str | None = None
    """The authorities themselves, in PEM format, instead of `client_ca_file`."""

    cert_file: PathName | None = None
    """Certificate of the listener, followed by those of intermediate authorities; PEM."""

    key_file: PathName | None = None
    """Private key of the certificate, PEM, not encrypted."""

    client_ca_file: PathName | None = None
    """Authorities of which one must have signed a client's certificate; PEM."""

    client_auth_type: Annotated[ClientAuth, BeforeValidator(_client_auth)] = "NoClientCert"
    """Whether clients are asked for a certificate, and whether they must have one."""

    client_allowed_sans: tuple[str, ...] = ()
    """Subject alternative names (DNS, IP, e-mail or URI) of which a client's certificate must have
    one; empty for no such restriction."""

    min_version: TlsVersion = "TLS12"
    """The oldest version of TLS that is accepted."""

    max_version: TlsVersion = "TLS13"
    """The newest version of TLS that is accepted."""

    cipher_suites: tuple[Annotated[str, AfterValidator(cipher_suite)], ...] = ()
    """Cipher suites for TLS up to 1.2, in order of preference; empty for the library's own."""

    prefer_server_cipher_suites: Flag = True
    """Whether our order of cipher suites counts, instead of the client's."""

    curve_preferences: Annotated[
        tuple[Annotated[str, AfterValidator(curve)], ...], AfterValidator(_one_curve)
    ] = ()
    """The one elliptic curve for key exchange; empty for the library's own choice."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        for name in ("cert", "key"):
            inline, file = getattr(self, name), getattr(self, f"{name}_file")
            if inline is None and file is None:
                raise InvalidValue(
                    f"lacks {name}_file; leave tls_server_config out to serve without TLS"
                )
            if inline is not None and file is not None:
                raise InvalidValue(f"has both {name} and {name}_file: leave one of them out")
        return self

    @model_validator(mode="after")
    def _clients(self) -> Self:
        if self.client_ca is not None and self.client_ca_file is not None:
            raise InvalidValue("has both client_ca and client_ca_file: leave one of them out")
        authorities = self.client_ca is not None or self.client_ca_file is not None
        asks = self.client_auth_type != "NoClientCert"
        if authorities and not asks:
            raise InvalidValue(
                "has authorities for client certificates, but asks for none: set"
                f" client_auth_type: {_VERIFY}"
            )
        if asks and not authorities:
            raise InvalidValue(
                f"has client_auth_type: {self.client_auth_type}, which needs client_ca_file"
            )
        if self.client_allowed_sans and self.client_auth_type != _VERIFY:
            raise InvalidValue(f"has client_allowed_sans, which needs client_auth_type: {_VERIFY}")
        return self

    @model_validator(mode="after")
    def _versions(self) -> Self:
        # The names sort as the versions do.
        if self.max_version < self.min_version:
            raise InvalidValue(
                f"has a max_version, {self.max_version}, below min_version, {self.min_version}"
            )
        if self.cipher_suites and self.min_version == "TLS13":
            raise InvalidValue("has cipher_suites, which TLS 1.3 alone has no use for")
        return self


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


KEYS = keys_of(WebConfig)
"""Every key of the web configuration file by its dotted path."""

WEB_CONFIG_KEY = "metrics.web_config"
"""The key of the configuration that names the file."""


def read_web_config(path: Path) -> WebConfig:
    """Read the web configuration file; relative paths in it are relative to the file.

    Raises SettingsError with everything that is wrong with it. Files that it names are not looked
    at.
    """
    read_named_file(path, WEB_CONFIG_KEY)
    draft = read_file(path, KEYS)
    try:
        config = WebConfig.model_validate(draft.tree)
    except ValidationError as error:
        raise SettingsError([*draft.problems, *problems_of(error, draft, KEYS)]) from None
    if draft.problems:
        raise SettingsError(draft.problems)
    return config
