"""Throw-away certificates: good ones, and each kind of bad one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from presenced.sources.mqtt.connection_options import TlsFiles


@dataclass(frozen=True)
class Certificates:
    """PEM files under one directory; `client` is what a healthy daemon uses."""

    ca: Path
    server_cert: Path
    server_key: Path
    client: TlsFiles
    renewed_client: Path
    second_client: TlsFiles
    expired_client: TlsFiles
    future_client: TlsFiles
    mismatched_key: TlsFiles
    foreign_client: TlsFiles
    wrong_ca: TlsFiles
    expired_server: tuple[Path, Path]
    other_name_server: tuple[Path, Path]


def issue(
    ca: trustme.CA, directory: Path, name: str, *identities: str, **more
) -> tuple[Path, Path]:
    """Write NAME.crt and NAME.key, signed by the CA."""
    pair = ca.issue_cert(*identities, common_name=name, **more)
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    for blob in pair.cert_chain_pems[:1]:
        blob.write_to_path(str(cert))
    pair.private_key_pem.write_to_path(str(key))
    return cert, key


def renew(ca: trustme.CA, directory: Path, key_file: Path) -> Path:
    """Write another certificate for the key of `client`."""
    key = load_pem_private_key(key_file.read_bytes(), None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=60))
        .sign(load_pem_private_key(ca.private_key_pem.bytes(), None), hashes.SHA256())
    )
    file = directory / "renewed.crt"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return file


def make_plain_authority(directory: Path) -> tuple[Path, tuple[Path, Path]]:
    """An authority without a key usage, as `openssl req -x509` of OpenSSL 3.0; and its server."""
    now = datetime.now(UTC)

    def sign(name: str, key: EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=60))
            .add_extension(extension, critical=True)
            .sign(ca_key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )

    ca_key, server_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    ca, cert, key = (directory / f"plain-{name}.pem" for name in ("ca", "server", "key"))
    ca.write_bytes(sign("plain", ca_key, x509.BasicConstraints(ca=True, path_length=None)))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    cert.write_bytes(sign("server", server_key, names))
    key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ca, (cert, key)


def make_certificates(directory: Path) -> Certificates:
    """Issue all of them from one CA, and some from another that nobody trusts."""
    ca, stranger = trustme.CA(), trustme.CA()
    ca_file, stranger_file = directory / "ca.pem", directory / "stranger.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    stranger.cert_pem.write_to_path(str(stranger_file))
    now = datetime.now(UTC)
    past = {"not_before": now - timedelta(days=30), "not_after": now - timedelta(days=1)}
    present = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}
    future = {"not_before": now + timedelta(days=1), "not_after": now + timedelta(days=30)}
    names = ("localhost", "127.0.0.1")
    server = issue(ca, directory, "server", *names)
    client = issue(ca, directory, "client", "client")
    return Certificates(
        ca=ca_file,
        server_cert=server[0],
        server_key=server[1],
        client=TlsFiles(*client, ca_file),
        renewed_client=renew(ca, directory, client[1]),
        second_client=TlsFiles(*issue(ca, directory, "second", "client", **present), ca_file),
        expired_client=TlsFiles(*issue(ca, directory, "expired", "client", **past), ca_file),
        future_client=TlsFiles(*issue(ca, directory, "future", "client", **future), ca_file),
        mismatched_key=TlsFiles(client[0], server[1], ca_file),
        foreign_client=TlsFiles(*issue(stranger, directory, "foreign", "client"), ca_file),
        wrong_ca=TlsFiles(*client, stranger_file),
        expired_server=issue(ca, directory, "expired-server", *names, **past),
        other_name_server=issue(ca, directory, "other-server", "elsewhere.example"),
    )
