"""TLS of the listener: its contexts, and what failed handshakes usually mean."""

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.certificates import Pem, PemCheck, load_authorities, load_pair
from presenced.settings.files import FileSnapshot
from presenced.settings.web import CIPHER_SUITES, CURVES, TlsServerConfig

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


def handshake_hint(reason: str) -> str | None:
    """Return what a reason of the TLS library for a failed handshake usually means, if known."""
    return _HINTS.get(reason)


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
