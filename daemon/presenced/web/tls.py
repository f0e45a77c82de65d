"""The TLS context of the listener.

The certificates and the key of the listener, read once and checked together.
"""

import os
import ssl
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from presenced.settings import Problem, SettingsError
from presenced.settings.pem import BadFile, belong_together, parse_certificates, parse_private_key
from presenced.settings.problems import read_named_file
from presenced.settings.web import CIPHER_SUITES, CURVES, TlsServerConfig

_SECTION = "tls_server_config"


@dataclass(frozen=True, slots=True, repr=False)
class TlsMaterial:
    """PEM texts that fit together, and what is worth a warning about them."""

    cert: bytes
    key: bytes
    client_ca: bytes | None
    warnings: tuple[Problem, ...]


class _Piece(NamedTuple):
    """A PEM text and the key that it comes from; `path` is None where it stands in the file."""

    name: str
    path: Path | None
    content: bytes

    def problem(self, message: str, **more: str) -> Problem:
        value = str(self.path) if self.path is not None else None
        fields = {"key": f"{_SECTION}.{self.name}", "value": value, "message": message, **more}
        return Problem(**fields)  # type: ignore[arg-type]


def read_material(tls: TlsServerConfig) -> TlsMaterial:
    """Read what the section names; raises SettingsError where it cannot be served.

    A certificate that is expired, or not yet valid, is served with a warning: the daemon's metrics
    tell of it then, to scrapers that take it all the same.
    """
    problems: list[Problem] = []
    secret = tls.key.get_secret_value() if tls.key is not None else None
    cert = _piece("cert", tls.cert, tls.cert_file, problems)
    key = _piece("key", secret, tls.key_file, problems)
    client_ca = _piece("client_ca", tls.client_ca, tls.client_ca_file, problems)
    certificate = _certificate(cert, problems) if cert else None
    if client_ca:
        _certificate(client_ca, problems)
    if key:
        _check_key(key, certificate, problems)
    if problems or not cert or not key:
        raise SettingsError(problems)
    warnings = [*_validity(cert, certificate), *_exposure(key)]
    return TlsMaterial(
        cert.content, key.content, client_ca.content if client_ca else None, tuple(warnings)
    )


def _piece(
    name: str, inline: str | None, path: Path | None, problems: list[Problem]
) -> _Piece | None:
    if inline is not None:
        return _Piece(name, None, inline.encode())
    if path is None:
        return None
    content = read_named_file(f"{_SECTION}.{name}_file", path)
    if isinstance(content, Problem):
        problems.append(content)
        return None
    return _Piece(f"{name}_file", path, content)


def _certificate(piece: _Piece, problems: list[Problem]) -> x509.Certificate | None:
    try:
        return parse_certificates(piece.content)[0]
    except BadFile as error:
        problems.append(piece.problem(str(error), kind=error.kind))
        return None


def _check_key(
    piece: _Piece, certificate: x509.Certificate | None, problems: list[Problem]
) -> None:
    try:
        key = parse_private_key(piece.content)
    except BadFile as error:
        problems.append(piece.problem(str(error), kind=error.kind))
        return
    if certificate and not belong_together(certificate, key):
        problems.append(piece.problem("is not the private key of the certificate", kind="mismatch"))


def _validity(piece: _Piece, certificate: x509.Certificate | None) -> list[Problem]:
    now = datetime.now(UTC)
    if certificate is None:
        return []
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        message = f"expired on {end:%Y-%m-%d %H:%M} UTC: scrapers will refuse it"
        return [piece.problem(message, kind="expired", severity="warning")]
    if now < begin:
        message = f"is not valid before {begin:%Y-%m-%d %H:%M} UTC: is the clock right?"
        return [piece.problem(message, kind="not_yet_valid", severity="warning")]
    return []


def _exposure(piece: _Piece) -> list[Problem]:
    try:
        mode = stat.S_IMODE(piece.path.stat().st_mode) if piece.path else 0
    except OSError:
        # Taken away since it was read; the next reading will say so.
        return []
    if not mode & (stat.S_IROTH | stat.S_IWOTH):
        return []
    message = f"is open to every user (mode {mode:03o}): chmod o-rwx {piece.path}"
    return [piece.problem(message, kind="exposed", severity="warning")]


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
