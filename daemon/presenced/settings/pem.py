"""The certificate files of the connection to the broker, and what is wrong with them.

Certificates and private keys in PEM files, and what is wrong with such a file.
"""

import re
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from presenced.settings.mqtt import TlsSettings
from presenced.settings.problems import Kind, Problem, Severity, read_named_file

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_DER_SEQUENCE = b"\x30"


class BadFile(ValueError):  # noqa: N818 -- a state of a file
    """A PEM file does not hold what it should; the message tells people, `kind` programs."""

    def __init__(self, message: str, kind: Kind = "malformed") -> None:
        super().__init__(message)
        self.kind: Kind = kind


def parse_certificates(content: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one; raises BadFile."""
    blocks = _blocks(content, "CERTIFICATE")
    if not blocks:
        raise BadFile(_not_a("certificate", "CERTIFICATE", content))
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise BadFile("holds a damaged certificate") from error


def parse_private_key(content: bytes) -> PrivateKeyTypes:
    """The first private key of a PEM file; raises BadFile."""
    blocks = _blocks(content, "PRIVATE KEY")
    if not blocks:
        raise BadFile(_not_a("private key", "PRIVATE KEY", content))
    if b"ENCRYPTED" in blocks[0]:
        raise BadFile(
            "is encrypted with a passphrase, and nobody is there to enter it: decrypt it with"
            " `openssl pkey -in ENCRYPTED -out DECRYPTED`",
            "encrypted",
        )
    try:
        return load_pem_private_key(blocks[0], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadFile("holds a damaged private key, or one of an unknown kind") from error


def _blocks(content: bytes, label: str) -> list[bytes]:
    """The PEM blocks of a kind; `RSA PRIVATE KEY` and its like are a PRIVATE KEY."""
    return [
        block[0]
        for block in _BLOCK.finditer(content)
        if block[1].decode() == label or (label == "PRIVATE KEY" and block[1].endswith(b" KEY"))
        if not block[1].endswith(b"PUBLIC KEY")
    ]


def _not_a(wanted: str, label: str, content: bytes) -> str:
    found = [name.decode() for name in _BEGIN.findall(content)]
    if any(name.endswith(label) for name in found):
        return f"is cut off: the {wanted} has no end"
    if found:
        return f"holds a {found[0].lower()}, not a {wanted}{_swap(found[0])}"
    if content.startswith(_DER_SEQUENCE):
        command = "x509" if wanted == "certificate" else "pkey"
        return f"is binary (DER), not PEM: convert it with `openssl {command} -inform der`"
    return f"is not PEM: a {wanted} begins with -----BEGIN {label}-----"


def _swap(label: str) -> str:
    if label.endswith("PRIVATE KEY") or label == "CERTIFICATE":
        return ": perhaps certificate and key are swapped"
    return ""


def belong_together(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Whether a private key is that of a certificate; True where only the TLS library knows."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return True


_CERT, _KEY, _CA = "mqtt.tls.cert", "mqtt.tls.key", "mqtt.tls.ca"
_AMAZON_CA = "https://www.amazontrust.com/repository/AmazonRootCA1.pem"


def check_tls_files(tls: TlsSettings, *, now: datetime) -> list[Problem]:
    """Everything that is wrong with the certificate files at the time `now`, which has a zone.

    Problems of the kinds `missing` and `unreadable` are for the start to refuse; the others may
    come and go while the daemon runs. Those of severity `warning` keep nothing from working.
    """
    inspection = _Inspection(now)
    certificate = inspection.certificate(tls.cert) if tls.cert else None
    key = inspection.private_key(tls.key) if tls.key else None
    if tls.key and certificate and key and not belong_together(certificate, key):
        message = f"is not the private key of the certificate in {tls.cert}"
        inspection.report(_KEY, tls.key, "mismatch", message)
    if tls.ca:
        inspection.authorities(tls.ca)
    return inspection.problems


def certificate_expiry(path: Path, *, bundle: bool = False) -> float:
    """When a certificate file expires, in seconds since the epoch.

    It is when its first certificate does, which is ours; in the `bundle` of an authority it is
    when the first of them all does. Raises OSError or ValueError when no certificate can be read.
    """
    ends = [c.not_valid_after_utc.timestamp() for c in parse_certificates(path.read_bytes())]
    return min(ends) if bundle else ends[0]


class _Inspection:
    """Looks at files one after the other and collects what is wrong with them."""

    def __init__(self, now: datetime) -> None:
        self.problems: list[Problem] = []
        self._now = now

    def report(
        self, key: str, path: Path, kind: Kind, message: str, severity: Severity = "error"
    ) -> None:
        self.problems.append(
            Problem(key=key, value=str(path), message=message, kind=kind, severity=severity)
        )

    def certificate(self, path: Path) -> x509.Certificate | None:
        certificates = self._read_certificates(_CERT, path)
        if not certificates:
            return None
        self._check_validity(_CERT, path, certificates[0])
        return certificates[0]

    def private_key(self, path: Path) -> PrivateKeyTypes | None:
        content = self._content(_KEY, path)
        if content is None:
            return None
        self._check_mode(path)
        try:
            return parse_private_key(content)
        except BadFile as error:
            self.report(_KEY, path, error.kind, str(error))
            return None

    def authorities(self, path: Path) -> None:
        certificates = self._read_certificates(_CA, path)
        authorities = [c for c in certificates if _is_authority(c)]
        if certificates and not authorities:
            message = (
                "holds no certificate of an authority (CA), which could sign the broker's:"
                f" for AWS IoT Core use {_AMAZON_CA}"
            )
            self.report(_CA, path, "malformed", message)
        if authorities and not any(_validity(c, self._now) is None for c in authorities):
            self._check_validity(_CA, path, authorities[0])

    def _content(self, key: str, path: Path) -> bytes | None:
        content = read_named_file(key, path)
        if isinstance(content, Problem):
            self.problems.append(content)
            return None
        return content

    def _read_certificates(self, key: str, path: Path) -> list[x509.Certificate]:
        content = self._content(key, path)
        if content is None:
            return []
        try:
            return parse_certificates(content)
        except BadFile as error:
            self.report(key, path, error.kind, str(error))
            return []

    def _check_validity(self, key: str, path: Path, certificate: x509.Certificate) -> None:
        if wrong := _validity(certificate, self._now):
            self.report(key, path, *wrong)

    def _check_mode(self, path: Path) -> None:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            # Taken away since it was read; whoever opens it next will say so.
            return
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            message = f"is open to every user (mode {mode:03o}): chmod o-rwx {path}"
            self.report(_KEY, path, "exposed", message, "warning")


def _validity(certificate: x509.Certificate, now: datetime) -> tuple[Kind, str] | None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return "expired", f"expired on {end:%Y-%m-%d %H:%M} UTC; it is {_utc(now)} now"
    if now < begin:
        return "not_yet_valid", (
            f"is not valid before {begin:%Y-%m-%d %H:%M} UTC; it is {_utc(now)} now: is the clock"
            " right?"
        )
    return None


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        # Old roots have no extensions.
        return certificate.issuer == certificate.subject
    except ValueError:
        # Extensions that cannot be read are for the TLS library to judge.
        return True
    return constraints.value.ca
