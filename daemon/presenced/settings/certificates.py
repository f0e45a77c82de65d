"""Certificates and private keys in PEM files: what is wrong with them, and when they expire.

One check serves the connections to the broker, the listener, and the commands `check` and `doctor`.
"""

import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from presenced.settings.files import FileSnapshot
from presenced.settings.problems import Kind, Problem, SettingsError, Severity

EXPIRY_WARNING = timedelta(days=30)
"""How long before its expiry a certificate is reported."""

_AMAZON_CA = "https://www.amazontrust.com/repository/AmazonRootCA1.pem"

_CERTIFICATE, _PRIVATE_KEY = b"CERTIFICATE", b"PRIVATE KEY"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(?:.*?(-----END \1-----))?", re.DOTALL)
_DER_SEQUENCE = b"\x30"
_COPY_AGAIN = "Copy the file again, or create a new one"


class PemFiles(Protocol):
    """The files of a connection to a broker, as settings and connection options name them."""

    @property
    def cert(self) -> Path | None:
        """The client certificate, followed by those of intermediate authorities."""

    @property
    def key(self) -> Path | None:
        """The private key of the client certificate."""

    @property
    def ca(self) -> Path | None:
        """The certificate authorities for the broker's certificate."""


@dataclass(frozen=True, slots=True)
class Pem:
    """PEM text and the configuration key that names it; `path` is None for text written inline."""

    key: str
    path: Path | None
    content: bytes


def check_tls_files(
    files: PemFiles,
    *,
    now: datetime,
    snapshot: FileSnapshot | None = None,
    section: str = "mqtt.tls",
) -> list[Problem]:
    """Return everything that is wrong with the files of a connection at `now`, which has a zone.

    `section` is the one that names them, by the keys `cert`, `key` and `ca`.
    Problems of the kinds `missing` and `unreadable` prevent the start of the daemon; others may
    come and go while it runs.
    """
    check = PemCheck(now, snapshot)
    cert = check.read(f"{section}.cert", files.cert)
    key = check.read(f"{section}.key", files.key)
    check.check_pair(cert, key)
    if cert and key:
        pair = cert.content, key.content
        check.try_loading(cert, key, load=lambda context: load_pair(context, *pair))
    if ca := check.read(f"{section}.ca", files.ca):
        content = ca.content
        check.check_authorities(ca)
        check.try_loading(ca, load=lambda context: load_authorities(context, content))
    return check.problems


def certificate_expiries(
    files: PemFiles | None, snapshot: FileSnapshot | None = None
) -> dict[str, float]:
    """Return when the `client` certificate and the `ca` expire, in seconds since the epoch.

    A client certificate is the first of its file, the others are those of intermediate authorities.
    A bundle of authorities expires when the first of them does. Certificates that cannot be read
    are left out.
    """
    check = PemCheck(datetime.now(UTC), snapshot)
    expiries = {}
    for name, path in (("client", files.cert), ("ca", files.ca)) if files else ():
        pem = check.read(name, path)
        if pem and (certificates := check.certificates(pem)):
            ends = [certificate.not_valid_after_utc.timestamp() for certificate in certificates]
            expiries[name] = min(ends) if name == "ca" else ends[0]
    return expiries


def verifying_context(authorities: bytes | None = None) -> ssl.SSLContext:
    """Return a context that verifies a server with these authorities (PEM), None for the system's.

    Raises OSError, such as ssl.SSLError.
    """
    if authorities is None:
        context = ssl.create_default_context()
    else:
        with file_in_memory(authorities) as path:
            context = ssl.create_default_context(cafile=path)
    # Since Python 3.13 the default refuses an authority without a key usage, as `openssl req -x509`
    # of OpenSSL 3.0 makes it. awscrt and librdkafka take it, so a diagnosis must take it, too.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Load a certificate and its key, in PEM format; raises OSError, such as ssl.SSLError."""
    with file_in_memory(cert) as cert_path, file_in_memory(key) as key_path:
        # An empty password: without one OpenSSL would ask for it on the terminal.
        context.load_cert_chain(cert_path, key_path, password="")


def load_authorities(context: ssl.SSLContext, authorities: bytes) -> None:
    """Load certificates to trust, in PEM format; raises OSError, such as ssl.SSLError."""
    with file_in_memory(authorities) as path:
        context.load_verify_locations(path)


@contextmanager
def file_in_memory(content: bytes) -> Iterator[str]:
    """Yield the path of a file in memory with this content.

    The TLS library reads files, and those on disk may have changed since they were checked.
    """
    with os.fdopen(os.memfd_create("presenced-pem"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


class PemCheck:
    """Read and check PEM files one after the other, and collect what is wrong in `problems`.

    Problems of severity `error` keep a file from working, those of severity `warning` do not. The
    files are read from `snapshot`, by default a new one.
    """

    def __init__(self, now: datetime, snapshot: FileSnapshot | None = None) -> None:
        self.problems: list[Problem] = []
        self._now = now
        self._snapshot = snapshot or FileSnapshot()

    def read(self, key: str, path: Path | None) -> Pem | None:
        """Read the file that a key names; None if it names none, or if that fails."""
        try:
            return Pem(key, path, self._snapshot.read(path, key)) if path else None
        except SettingsError as error:
            self.problems += error.problems
            return None

    def certificates(self, pem: Pem) -> list[x509.Certificate]:
        """Return all certificates in the order of the file; none if one of them is damaged."""
        try:
            return [x509.load_pem_x509_certificate(b) for b in self._blocks(pem, _CERTIFICATE)]
        except (ValueError, x509.InvalidVersion):
            self._report(pem, "malformed", "contains a damaged certificate", _COPY_AGAIN)
            return []

    def check_pair(self, cert: Pem | None, key: Pem | None) -> None:
        """Check a certificate, its private key, and that they belong together."""
        certificate = None
        if cert and (certificates := self.certificates(cert)):
            # The peer checks the rest of the chain, which it may not need.
            certificate = certificates[0]
            if finding := _validity(certificate, self._now):
                self._report(cert, *finding)
        if key is None:
            return
        self._check_mode(key)
        private_key = self._private_key(key)
        if cert and certificate and private_key and not _match(certificate, private_key):
            self._report(
                key,
                "mismatch",
                f"does not belong to the certificate {cert.path or ''}".rstrip(),
                "Use the key that was created together with this certificate",
            )

    def check_authorities(self, pem: Pem) -> None:
        """Check that a file contains an authority (CA) that is valid now, and for some time."""
        certificates = self.certificates(pem)
        authorities = [certificate for certificate in certificates if _is_authority(certificate)]
        if certificates and not authorities:
            message = "contains no certificate of an authority (CA), which could sign the broker's"
            self._report(pem, "no_authority", message, f"For AWS use {_AMAZON_CA}")
        findings = [_validity(authority, self._now) for authority in authorities]
        bad = [finding for finding in findings if finding]
        if bad and len(bad) == len(findings):
            self._report(pem, *min(bad, key=lambda finding: finding[-1] == "error"))

    def try_loading(self, *pems: Pem, load: Callable[[ssl.SSLContext], None]) -> None:
        """Load files into the TLS library, which decides what is malformed.

        It supports kinds of keys that `cryptography` does not, and rejects some that `cryptography`
        reads, such as keys that are too short.
        """
        keys = [pem.key for pem in pems]
        try:
            load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except OSError as error:
            if not any(p.key in keys and p.severity == "error" for p in self.problems):
                reason = getattr(error, "reason", None) or error.strerror or error
                message = f"is refused by the TLS library ({reason})"
                remedy = "Create a new one that it accepts"
                self._report(pems[-1], "malformed", message, remedy)
        else:
            self.problems = [p for p in self.problems if p.key not in keys or p.kind != "malformed"]

    def _private_key(self, pem: Pem) -> PrivateKeyTypes | None:
        blocks = self._blocks(pem, _PRIVATE_KEY)
        if not blocks:
            return None
        if b"ENCRYPTED" in blocks[0]:
            message = "is encrypted with a passphrase, which the daemon cannot enter"
            remedy = "Decrypt it with `openssl pkey -in ENCRYPTED -out DECRYPTED`"
            self._report(pem, "encrypted", message, remedy)
            return None
        try:
            return load_pem_private_key(blocks[0], password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            message = "contains a damaged private key, or one of an unknown kind"
            self._report(pem, "malformed", message, _COPY_AGAIN)
            return None

    def _blocks(self, pem: Pem, label: bytes) -> list[bytes]:
        """Return the PEM blocks of a kind, such as PRIVATE KEY, which EC PRIVATE KEY is too."""
        found = list(_BLOCK.finditer(pem.content))
        wanted = [block for block in found if block[1].endswith(label)]
        if complete := [block[0] for block in wanted if block[2]]:
            return complete
        what = label.decode().lower()
        remedy = f"Put the {what} there in PEM format, or correct {pem.key}"
        if wanted:
            message, remedy = f"is cut off: the {what} has no end", "Copy the whole file"
        elif found:
            message = f"contains {_named(found[0][1].decode())}, not a {what}"
            if found[0][1].endswith((_CERTIFICATE, _PRIVATE_KEY)):
                remedy = "Check whether certificate and key are swapped"
        elif pem.content.startswith(_DER_SEQUENCE):
            command = "x509" if label == _CERTIFICATE else "pkey"
            message = "is binary (DER), not PEM"
            remedy = f"Convert it with `openssl {command} -inform der`"
        else:
            message = f"is not PEM: a {what} begins with -----BEGIN {label.decode()}-----"
        self._report(pem, "malformed", message, remedy)
        return []

    def _check_mode(self, pem: Pem) -> None:
        labels = [block[1] for block in _BLOCK.finditer(pem.content)]
        if labels and not any(label.endswith(_PRIVATE_KEY) for label in labels):
            # Nothing in it is secret, such as a certificate swapped with its key.
            return
        try:
            mode = stat.S_IMODE(pem.path.stat().st_mode) if pem.path else 0
        except OSError:
            # Removed since it was read: the next attempt to read it reports that.
            return
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            message = f"is accessible to every user (mode {mode:03o})"
            self._report(pem, "exposed", message, f"Run chmod o-rwx {pem.path}", "warning")

    def _report(
        self, pem: Pem, kind: Kind, message: str, remedy: str = "", severity: Severity = "error"
    ) -> None:
        self.problems.append(
            Problem(
                key=pem.key,
                value=str(pem.path) if pem.path else None,
                message=message,
                remedy=remedy,
                kind=kind,
                severity=severity,
            )
        )


def _named(label: str) -> str:
    """Return the label of a PEM block with its article: `an EC private key`."""
    # Short words other than KEY are abbreviations, spoken letter by letter: EC, RSA, X509.
    name = re.sub("[A-Z]{6,}|KEY", lambda word: word[0].lower(), label)
    return f"{'an' if name[0] in 'aeiouERX' else 'a'} {name}"


def _match(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        # The TLS library may support this kind of key.
        return True


def _validity(
    certificate: x509.Certificate, now: datetime
) -> tuple[Kind, str, str, Severity] | None:
    """Return kind, message, remedy and severity if a certificate is not valid now, or not for long.

    A certificate that expires soon is a warning.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    clock = f"it is {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC now"
    expiry = f"{end:%Y-%m-%d %H:%M} UTC"
    renew = "Create or renew the certificate and put the new files in its place"
    if now > end:
        return "expired", f"expired on {expiry}; {clock}", renew, "error"
    if now < begin:
        return (
            "not_yet_valid",
            f"is not valid before {begin:%Y-%m-%d %H:%M} UTC; {clock}",
            "Check the clock of this machine; else wait or use another certificate",
            "error",
        )
    if end - now < EXPIRY_WARNING:
        message = f"expires within {EXPIRY_WARNING.days} days, on {expiry}"
        return "expires_soon", message, renew, "warning"
    return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        # Old roots have no extensions.
        return certificate.issuer == certificate.subject
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        # The TLS library decides about extensions that cannot be read.
        return True
    return constraints.value.ca
