import ssl
import stat
from pathlib import Path

from cryptography import x509

from presenced_emulator.certificates import HOST, Certificates, issue, server_context


def test_keys_are_private_and_the_authority_has_none(tmp_path: Path) -> None:
    issue(tmp_path)
    keys = sorted(path.name for path in tmp_path.glob("*.key"))
    assert keys == ["broker.key", "devices.key", "presenced.key"]
    for key in tmp_path.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "PRIVATE" not in (tmp_path / "ca.pem").read_text()


def test_server_certificate_names_the_endpoint(certificates: Certificates) -> None:
    certificate = x509.load_pem_x509_certificate(certificates.server.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]


def test_server_requires_client_certificates(certificates: Certificates) -> None:
    assert server_context(certificates).verify_mode is ssl.CERT_REQUIRED
