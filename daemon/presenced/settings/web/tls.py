"""The section `tls_server_config` of the web configuration file."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from presenced.settings.base import Flag, PathName, Section
from presenced.settings.problems import InvalidValue
from presenced.settings.web.ciphers import cipher_suite, curve

__all__ = ["ClientAuth", "TlsServerConfig", "TlsVersion"]

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
