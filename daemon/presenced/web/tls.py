"""The TLS context of the listener.

The certificates and the key of the listener, read once and checked together.
"""

import os
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.certificates import Pem, PemCheck
from presenced.settings.web import CIPHER_SUITES, CURVES, TlsServerConfig

_SECTION = "tls_server_config"
_SERVED_ANYWAY = ("expired", "not_yet_valid")


@dataclass(frozen=True, slots=True, repr=False)
class TlsMaterial:
    """PEM texts that fit together, and what is worth a warning about them."""

    cert: bytes
    key: bytes
    client_ca: bytes | None
    warnings: tuple[Problem, ...]


def read_material(tls: TlsServerConfig) -> TlsMaterial:
    """Read what the section names; raises SettingsError if it cannot be served.

    A certificate that has expired or is not valid yet is served with a warning: scrapers that
    accept it still get the metrics, which report its expiry.
    """
    check = PemCheck(datetime.now(UTC))

    def read(name: str, inline: str | None, path: Path | None) -> Pem | None:
        if inline is not None:
            return Pem(f"{_SECTION}.{name}", None, inline.encode())
        return check.read(f"{_SECTION}.{name}_file", path) if path else None

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
    return TlsMaterial(
        cert.content, key.content, client_ca.content if client_ca else None, tuple(problems)
    )


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


def build_context(tls: TlsServerConfig, material: TlsMaterial) -> ssl.SSLContext:
    """Make the context that serves the material; raises SettingsError where OpenSSL refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Connection
    steps: list[tuple[str, Callable[[], None]]] = [
        ("tls_server_config.min_version", lambda: _set_versions(context, tls)),
        ("tls_server_config.cipher_suites", lambda: _set_ciphers(context, tls)),
        ("tls_server_config.curve_preferences", lambda: _set_curve(context, tls)),
        ("tls_server_config.cert_file", lambda: _set_certificate(context, material)),
        ("tls_server_config.client_ca_file", lambda: _set_clients(context, tls, material)),
    ]
    for key, step in steps:
        try:
            step()
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            problem = Problem(key=key, message=f"is refused by the TLS library: {reason}")
            raise SettingsError([problem]) from error
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _set_versions(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    with warnings.catch_warnings():
        # Whoever configures an old version is warned in words of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]


def _set_ciphers(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    chosen = ":".join(CIPHER_SUITES[name] for name in tls.cipher_suites)
    if tls.min_version in ("TLS10", "TLS11"):
        # OpenSSL 3 takes their signatures at its lowest level of security only.
        chosen = f"{chosen or 'DEFAULT'}:@SECLEVEL=0"
    if chosen:
        context.set_ciphers(chosen)
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _set_curve(context: ssl.SSLContext, tls: TlsServerConfig) -> None:
    for name in tls.curve_preferences:
        context.set_ecdh_curve(CURVES[name])


def _set_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    """Load what was checked: the library reads files only, and these may change at any time."""
    with _in_memory(material.cert) as cert, _in_memory(material.key) as key:
        context.load_cert_chain(cert, key)


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A file that is on no disk, by its name."""
    file = os.memfd_create("presenced-listener")
    with os.fdopen(file, "wb") as writer:
        writer.write(content)
        writer.flush()
        yield f"/proc/self/fd/{file}"


def _set_clients(context: ssl.SSLContext, tls: TlsServerConfig, material: TlsMaterial) -> None:
    context.verify_mode = _CLIENT_AUTH[tls.client_auth_type]
    if material.client_ca is not None:
        # As Go does: whatever stands in the file is trusted, also an intermediate authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=material.client_ca.decode("ascii", "replace"))


class LiveContext(ssl.SSLContext):
    """Serves each connection by the context that is current when it begins.

    asyncio is given one context for good. Swapping it in the handshake, as `sni_callback` can,
    would change the certificate but not what is demanded of clients.
    """

    current: Callable[[], ssl.SSLContext | None]
    """Tells the context for a connection that begins now; without one none succeeds."""

    refused: Callable[[ssl.SSLError], None]
    """Is told why a handshake failed."""

    @classmethod
    def of(
        cls, current: Callable[[], ssl.SSLContext | None], refused: Callable[[ssl.SSLError], None]
    ) -> "LiveContext":
        """Make one that asks `current`, and tells `refused`."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context.current = current
        context.refused = refused
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 -- the library's interface
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection, as the library asks for it."""
        context = self.current()
        wrap = super().wrap_bio if context is None else context.wrap_bio
        connection = wrap(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(connection, _Connection):
            connection.refused = self.refused
        return connection


class _Connection(ssl.SSLObject):
    """Tells why its handshake failed, which asyncio keeps to itself."""

    refused: Callable[[ssl.SSLError], None]

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.refused(error)
            raise
