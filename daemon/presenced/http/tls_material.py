"""The certificates and the key of the listener, read once and checked together."""

import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from presenced.pem import BadFile, belong_together, parse_certificates, parse_private_key
from presenced.settings import Problem, SettingsError
from presenced.settings.files import read_named_file
from presenced.settings.web import TlsServerConfig

__all__ = ["TlsMaterial", "read_material"]

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
