"""A temporary certificate authority for one run, and the certificates that it issues."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "localhost"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """The authority's certificate, and those of the broker, the daemon and the devices."""

    ca: Path
    server: KeyPair
    daemon: KeyPair
    devices: KeyPair


def issue(directory: Path) -> Certificates:
    """Create a certificate authority and issue certificates into a private directory.

    The authority's own key is never written. All devices share one certificate, as AWS IoT Core
    allows.
    """
    authority = trustme.CA(organization_name="presenced demo")
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))

    def key_pair(name: str, *identities: str) -> KeyPair:
        issued = authority.issue_cert(*identities, common_name=name)
        pair = KeyPair(directory / f"{name}.pem", directory / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(str(pair.cert))
        pair.key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(str(pair.key))
        return pair

    return Certificates(
        ca=ca,
        server=key_pair("broker", HOST, "127.0.0.1"),
        # Python from 3.13 on rejects certificates with no name in them, clients' too.
        daemon=key_pair("presenced", "presenced"),
        devices=key_pair("devices", "devices"),
    )


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Return the broker's TLS settings; clients need a certificate of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    return context


def client_context(certificates: Certificates, identity: KeyPair) -> ssl.SSLContext:
    """Return the TLS settings of a client with the certificate of `identity`."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.load_cert_chain(identity.cert, identity.key)
    return context
