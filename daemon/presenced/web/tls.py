"""TLS of the listener: its contexts, and why handshakes fail."""

import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.certificates import Pem, PemCheck, load_authorities, load_pair
from presenced.settings.files import FileSnapshot
from presenced.settings.web import CIPHER_SUITES, CURVES, TlsServerConfig
from presenced.system.log import ThrottledLogger, get_logger

_SECTION = "tls_server_config"
_SERVED_ANYWAY = ("expired", "not_yet_valid")


_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def load_context(
    tls: TlsServerConfig, snapshot: FileSnapshot
) -> tuple[ssl.SSLContext, tuple[Problem, ...]]:
    """Return the context that the section describes, and warnings about its certificates.

    A certificate that has expired or is not valid yet is served with a warning: scrapers that
    accept it still get the metrics. Raises SettingsError if anything else is wrong.
    """
    check = PemCheck(datetime.now(UTC), snapshot)

    def read(name: str, inline: str | None, path: Path | None) -> Pem | None:
        if inline is not None:
            return Pem(f"{_SECTION}.{name}", None, inline.encode())
        return check.read(f"{_SECTION}.{name}_file", path)

    cert = read("cert", tls.cert, tls.cert_file)
    key = read("key", tls.key.get_secret_value() if tls.key else None, tls.key_file)
    client_ca = read("client_ca", tls.client_ca, tls.client_ca_file)
    check.check_pair(cert, key)
    if client_ca:
        check.certificates(client_ca)
    problems = [
        replace(problem, severity="warning") if problem.kind in _SERVED_ANYWAY else problem
        for problem in check.problems
    ]
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or not cert or not key:
        raise SettingsError(errors)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Connection
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    with _refusals("min_version"), warnings.catch_warnings():
        # presenced has its own warning about old versions.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
    with _refusals("cipher_suites"):
        _set_ciphers(context, tls)
    with _refusals("curve_preferences"):
        for name in tls.curve_preferences:
            context.set_ecdh_curve(CURVES[name])
    with _refusals("cert_file"):
        load_pair(context, cert.content, key.content)
    with _refusals("client_ca_file"):
        context.verify_mode = _CLIENT_AUTH[tls.client_auth_type]
        if client_ca:
            # As in Go: every certificate in the file is trusted, including intermediate ones.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            load_authorities(context, client_ca.content)
    return context, tuple(problems)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn an error of the TLS library into one that names the key."""
    try:
        yield
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        message = f"is refused by the TLS library: {reason}"
        raise SettingsError([Problem(key=f"{_SECTION}.{name}", message=message)]) from error


def _set_ciphers(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    ciphers = ":".join(CIPHER_SUITES[name] for name in tls.cipher_suites)
    if tls.min_version in ("TLS10", "TLS11"):
        # OpenSSL 3 accepts the signatures of these versions at its lowest security level only.
        ciphers = f"{ciphers or 'DEFAULT'}:@SECLEVEL=0"
    if ciphers:
        context.set_ciphers(ciphers)
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


class LiveContext(ssl.SSLContext):
    """Serves each connection with the context that is current when the connection begins.

    asyncio uses one context for the life of the listener. `sni_callback` can replace it during the
    handshake, but that changes the certificate only, not what is required of clients.
    """

    current: Callable[[], ssl.SSLContext | None]
    """Returns the context of a new connection; if it is None, the connection fails."""

    log: ThrottledLogger
    """Throttled, because port scans cause many failed handshakes."""

    @classmethod
    def of(cls, current: Callable[[], ssl.SSLContext | None]) -> "LiveContext":
        """Return a context that delegates to `current` and logs failed handshakes."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context.current = current
        context.log = ThrottledLogger(get_logger("presenced.http"))
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 -- the library's interface
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection; asyncio calls this."""
        context = self.current()
        wrap = super().wrap_bio if context is None else context.wrap_bio
        connection = wrap(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(connection, _Connection):
            connection.log = self.log
        return connection


class _Connection(ssl.SSLObject):
    """Logs why its handshake failed, which asyncio does not report."""

    log: ThrottledLogger

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            reason = error.reason or type(error).__name__
            hint = _HINTS.get(reason)
            self.log.info("TLS handshake failed", key=reason, reason=reason, hint=hint)
            raise


_HINTS = {
    "HTTP_REQUEST": "the client speaks plain HTTP: set `scheme: https` in its scrape_config",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate, which client_auth_type"
    " requires: set cert_file and key_file in its tls_config",
    "CERTIFICATE_VERIFY_FAILED": "no authority of client_ca_file signed the client's certificate,"
    " or it is not valid now",
    "UNSUPPORTED_PROTOCOL": "the client's TLS versions are outside min_version to max_version",
    "NO_SHARED_CIPHER": "the client supports none of cipher_suites",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the certificate of the listener: set"
    " ca_file in its tls_config",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client rejects the certificate of the listener",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the certificate of the listener has expired",
}
