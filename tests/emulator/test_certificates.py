import ssl
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from presenced_emulator.certificates import HOST, Certificates, issue


def test_keys_are_private_and_the_authority_has_none(tmp_path: Path) -> None:
    issue(tmp_path)
    keys = sorted(path.name for path in tmp_path.glob("*.key"))
    assert keys == ["presenced.key"]
    assert stat.S_IMODE((tmp_path / "presenced.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in (tmp_path / "ca.pem").read_text()


def test_the_broker_requires_client_certificates(certificates: Certificates) -> None:
    assert certificates.broker.verify_mode is ssl.CERT_REQUIRED


def test_clients_verify_the_name_of_the_broker(certificates: Certificates) -> None:
    for host in (HOST, "127.0.0.1", "elsewhere"):
        to_client, to_broker = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = certificates.devices.wrap_bio(to_client, to_broker, server_hostname=host)
        broker = certificates.broker.wrap_bio(to_broker, to_client, server_side=True)
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        with suppress(ssl.SSLWantReadError):
            broker.do_handshake()
        if host == "elsewhere":
            with pytest.raises(ssl.SSLCertVerificationError):
                client.do_handshake()
        else:
            client.do_handshake()
            broker.do_handshake()
