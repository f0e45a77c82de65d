"""Certificates and private keys in PEM files, and what is wrong with such a file."""

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from presenced.settings.problems import Kind

__all__ = ["BadFile", "belong_together", "parse_certificates", "parse_private_key"]

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
