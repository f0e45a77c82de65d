"""A temporary certificate authority for one run, and the certificates that it issues."""

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme

from presenced.sources.mqtt.connection_options import TlsFiles

HOST = "localhost"


class Certificates(NamedTuple):
    """The daemon's PEM files, and the TLS contexts of the servers and of the devices.

    The broker requires client certificates; AWS's other services ask for one, which only the
    credential provider needs.
    """

    daemon: TlsFiles
    broker: ssl.SSLContext
    aws: ssl.SSLContext
    devices: ssl.SSLContext


def issue(directory: Path) -> Certificates:
    """Create a certificate authority and issue certificates, the daemon's into a private directory.

    The authority's own key is never written. All devices share one certificate, as AWS IoT Core
    allows.
    """
    authority = trustme.CA(organization_name="presenced demo")
    cert, key, ca = (directory / name for name in ("presenced.pem", "presenced.key", "ca.pem"))
    authority.cert_pem.write_to_path(str(ca))
    # Python from 3.13 on rejects certificates with no name in them, clients' too.
    issued = authority.issue_cert("presenced", common_name="presenced")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(str(key))

    def context(purpose: ssl.Purpose, *identities: str) -> ssl.SSLContext:
        created = ssl.create_default_context(purpose, cadata=authority.cert_pem.bytes().decode())
        authority.issue_cert(*identities, common_name=identities[0]).configure_cert(created)
        return created

    broker = context(ssl.Purpose.CLIENT_AUTH, HOST, "127.0.0.1")
    broker.verify_mode = ssl.CERT_REQUIRED
    aws = context(ssl.Purpose.CLIENT_AUTH, HOST, "127.0.0.1")
    aws.verify_mode = ssl.CERT_OPTIONAL
    devices = context(ssl.Purpose.SERVER_AUTH, "devices")
    return Certificates(TlsFiles(cert, key, ca), broker, aws, devices)
