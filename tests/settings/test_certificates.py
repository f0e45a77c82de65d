import base64
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from presenced.settings import TlsSettings, certificates
from presenced.settings.certificates import certificate_expiries, check_tls_files

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def make_certificate(key, *, begin=-DAY, end=365 * DAY, name="us", issuer=None, authority=None):
    def subject(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer or name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begin)
        .not_valid_after(NOW + end)
    )
    if authority is not None:
        constraints = x509.BasicConstraints(ca=authority, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


class Files:
    """A directory with a good set of files, one of which a test replaces."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.write("cert", make_certificate(self.key, issuer="them", authority=False))
        self.write("key", pem(self.key))
        self.write("ca", make_certificate(self.key, name="them", authority=True))

    def path(self, name) -> Path:
        return self.directory / name

    def write(self, name, content):
        self.path(name).write_bytes(content)
        self.path(name).chmod(0o600)

    def problems(self, **replaced):
        names = {"cert": "cert", "key": "key", "ca": "ca"} | replaced
        paths = {key: self.path(name) if name else None for key, name in names.items()}
        return check_tls_files(TlsSettings(**paths), now=NOW)

    def problem(self, **replaced):
        (problem,) = self.problems(**replaced)
        return problem


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_good_files_have_no_problems(files):
    assert files.problems() == []
    assert files.problems(cert=None, key=None, ca=None) == []


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
def test_missing_files_are_named(files, name):
    problem = files.problem(**{name: "nothing"})
    assert (problem.key, problem.kind, problem.severity) == (f"mqtt.tls.{name}", "missing", "error")
    assert problem.summary == f"mqtt.tls.{name} = {files.path('nothing')}: no such file"
    assert str(problem) == f"{problem.summary}. Put the file there, or correct {problem.key}"


def test_all_missing_files_are_named_at_once(tmp_path):
    directory = tmp_path / "certs"
    tls = TlsSettings(cert=directory / "c", key=directory / "k", ca=directory / "a")
    problems = check_tls_files(tls, now=NOW)
    assert [problem.key for problem in problems] == ["mqtt.tls.cert", "mqtt.tls.key", "mqtt.tls.ca"]
    assert problems[0].message == f"no such file, and no directory {directory}"


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
def test_directories_are_unreadable(files, name):
    problem = files.problem(**{name: "."})
    assert (problem.key, problem.kind) == (f"mqtt.tls.{name}", "unreadable")
    assert problem.message == "is a directory"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "may not be read by this user"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
    ],
)
def test_files_that_may_not_be_read(files, monkeypatch, error, message):
    open_file = os.open

    def refuse(path, *more):
        if Path(path).name == "key":
            raise error
        return open_file(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    problem = files.problem()
    assert (problem.key, problem.kind) == ("mqtt.tls.key", "unreadable")
    assert problem.message.startswith(message)


@pytest.fixture
def key_of_another(files):
    files.path("key").chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


def test_a_key_of_another_user_is_unreadable(files, key_of_another):
    # Where the tests run as root, the directory is closed to the other user too.
    problem = next(problem for problem in files.problems() if problem.key == "mqtt.tls.key")
    assert problem.kind == "unreadable"
    assert problem.message.startswith("may not be read by this user")


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x00\xff", b"-----BEGIN"])
def test_what_is_not_pem_says_what_pem_is(files, name, content):
    files.write(name, content)
    problem = files.problem()
    label = "PRIVATE KEY" if name == "key" else "CERTIFICATE"
    assert (problem.key, problem.kind) == (f"mqtt.tls.{name}", "malformed")
    assert problem.message.endswith(f"begins with -----BEGIN {label}-----")
    assert (
        problem.remedy == f"Put the {label.lower()} there in PEM format, or correct {problem.key}"
    )


@pytest.mark.parametrize(("name", "command"), [("cert", "x509"), ("key", "pkey"), ("ca", "x509")])
def test_binary_files_say_how_to_convert_them(files, name, command):
    files.write(name, b"\x30\x82\x01\x00")
    assert f"`openssl {command} -inform der`" in files.problem().remedy


def test_swapped_files_are_recognised(files):
    cert, key = files.problems(cert="key", key="cert")
    assert cert.message == "contains a private key, not a certificate"
    assert key.message == "contains a certificate, not a private key"
    assert cert.remedy == key.remedy == "Check whether certificate and key are swapped"


def test_a_certificate_in_place_of_the_key_needs_no_mode(files):
    files.path("cert").chmod(0o644)
    kinds = [(problem.key, problem.kind) for problem in files.problems(cert="key", key="cert")]
    assert kinds == [("mqtt.tls.cert", "malformed"), ("mqtt.tls.key", "malformed")]


def test_the_public_key_is_not_the_private_one(files):
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files.write("key", files.key.public_key().public_bytes(*form))
    assert files.problem().message == "contains a public key, not a private key"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("EC PRIVATE KEY", "an EC private key"),
        ("RSA PRIVATE KEY", "an RSA private key"),
        ("DSA PRIVATE KEY", "a DSA private key"),
        ("ENCRYPTED PRIVATE KEY", "an encrypted private key"),
        ("X509 CRL", "an X509 CRL"),
    ],
)
def test_other_blocks_have_their_article(files, label, name):
    files.write("cert", f"-----BEGIN {label}-----\nAA==\n-----END {label}-----\n".encode())
    cert = next(problem for problem in files.problems() if problem.key == "mqtt.tls.cert")
    assert cert.message == f"contains {name}, not a certificate"


def test_a_signing_request_is_no_certificate(files):
    files.write("cert", b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n")
    assert files.problem().message == "contains a certificate request, not a certificate"


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
def test_half_written_files_are_cut_off(files, name):
    files.write(name, files.path(name).read_bytes()[:-40])
    assert files.problem().message.startswith("is cut off: the ")


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
def test_damaged_files(files, name):
    begin, *_, end = files.path(name).read_bytes().splitlines()
    files.write(name, b"\n".join([begin, b"AAAA", end]))
    problem = files.problem()
    assert problem.kind == "malformed"
    assert problem.message.startswith("contains a damaged ")
    assert problem.remedy == "Copy the file again, or create a new one"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_keys_say_how_to_decrypt_them(files, form):
    files.write("key", pem(files.key, form, BestAvailableEncryption(b"secret")))
    problem = files.problem()
    assert problem.kind == "encrypted"
    assert "openssl pkey -in" in problem.remedy


def test_a_key_of_another_certificate(files):
    files.write("key", pem(ec.generate_private_key(ec.SECP256R1())))
    problem = files.problem()
    assert (problem.key, problem.kind) == ("mqtt.tls.key", "mismatch")
    assert problem.message == f"does not belong to the certificate {files.path('cert')}"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
def test_keys_of_every_kind(files, key):
    files.write("cert", make_certificate(key))
    files.write("key", pem(key))
    assert files.problems() == []


def test_keys_in_the_form_of_openssl(files):
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    files.write("key", parameters + pem(files.key, PrivateFormat.TraditionalOpenSSL))
    assert files.problems() == []


def test_key_and_certificate_in_one_file(files):
    both = pem(files.key) + files.path("cert").read_bytes()
    files.write("both", both)
    assert files.problems(cert="both", key="both") == []


def test_expired_certificate_names_its_date(files):
    files.write("cert", make_certificate(files.key, begin=-9 * DAY, end=-2 * DAY))
    problem = files.problem()
    assert (problem.key, problem.kind, problem.severity) == ("mqtt.tls.cert", "expired", "error")
    assert problem.message == ("expired on 2026-11-19 00:00 UTC; it is 2026-11-21 00:00 UTC now")


def test_certificate_that_is_not_yet_valid_asks_for_the_clock(files):
    files.write("cert", make_certificate(files.key, begin=2 * DAY))
    problem = files.problem()
    assert problem.kind == "not_yet_valid"
    assert problem.message == (
        "is not valid before 2026-11-23 00:00 UTC; it is 2026-11-21 00:00 UTC now"
    )
    assert "clock" in problem.remedy


@pytest.mark.parametrize(("days", "warned"), [(29, True), (31, False)])
@pytest.mark.parametrize("name", ["cert", "ca"])
def test_a_certificate_that_expires_soon_is_a_warning(files, name, days, warned):
    authority = name == "ca"
    soon = make_certificate(files.key, end=days * DAY, name="them", authority=authority)
    files.write(name, soon)
    problems = files.problems()
    assert [(p.key, p.kind, p.severity) for p in problems] == [
        (f"mqtt.tls.{name}", "expires_soon", "warning")
    ] * warned
    if warned:
        assert problems[0].message == "expires within 30 days, on 2026-12-20 00:00 UTC"
        assert "renew the certificate" in problems[0].remedy


def test_only_the_first_certificate_of_a_chain_must_be_valid(files):
    old = make_certificate(files.key, begin=-9 * DAY, end=-DAY, name="old")
    files.write("cert", files.path("cert").read_bytes() + old)
    assert files.problems() == []


def test_authority_must_be_one(files):
    problem = files.problem(ca="cert")
    assert (problem.key, problem.kind) == ("mqtt.tls.ca", "no_authority")
    assert "https://www.amazontrust.com/repository/AmazonRootCA1.pem" in problem.remedy


def test_old_roots_without_extensions_are_authorities(files):
    files.write("ca", make_certificate(files.key, name="root"))
    assert files.problems() == []
    files.write("ca", make_certificate(files.key, name="leaf", issuer="root"))
    assert files.problem().kind == "no_authority"


def test_one_valid_authority_of_a_bundle_is_enough(files):
    old = make_certificate(files.key, begin=-9 * DAY, end=-DAY, name="old", authority=True)
    files.write("old", old)
    assert files.problem(ca="old").kind == "expired"
    files.write("bundle", old + files.path("ca").read_bytes())
    assert files.problems(ca="bundle") == []
    soon = make_certificate(files.key, end=DAY, name="soon", authority=True)
    files.write("bundle", old + soon)
    assert files.problem(ca="bundle").kind == "expires_soon"


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_key_open_to_everyone_is_a_warning(files, mode, open_to_all):
    files.path("key").chmod(mode)
    problems = files.problems()
    assert [(p.kind, p.severity) for p in problems] == [("exposed", "warning")] * open_to_all
    if open_to_all:
        assert problems[0].message == "is accessible to every user (mode 644)"
        assert problems[0].remedy.startswith("Run chmod o-rwx ")
        assert stat.S_IMODE(files.path("key").stat().st_mode) == mode


def test_expiry_of_a_chain_and_of_a_bundle(files):
    sooner = make_certificate(files.key, end=DAY)
    later = make_certificate(files.key, end=2 * DAY)
    files.write("chain", later + sooner)
    both = TlsSettings(cert=files.path("chain"), key=files.path("key"), ca=files.path("chain"))
    assert certificate_expiries(both) == {
        "client": (NOW + 2 * DAY).timestamp(),
        "ca": (NOW + DAY).timestamp(),
    }


def test_certificates_that_cannot_be_read_have_no_expiry(files):
    bad = TlsSettings(cert=files.path("key"), key=files.path("key"), ca=files.path("nothing"))
    assert certificate_expiries(bad) == {}
    assert certificate_expiries(None) == {}
    assert certificate_expiries(TlsSettings(cert=None, key=None, ca=None)) == {}


def test_what_only_the_tls_library_reads_is_not_malformed(files):
    trusted = files.path("cert").read_bytes().replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-")
    files.write("cert", trusted)
    assert files.problems() == []


def test_what_the_tls_library_refuses_is_malformed(files):
    key = rsa.generate_private_key(65537, 1024)
    files.write("cert", make_certificate(key))
    files.write("key", pem(key))
    problem = files.problem()
    assert (problem.key, problem.kind) == ("mqtt.tls.key", "malformed")
    assert problem.message == "is refused by the TLS library (EE_KEY_TOO_SMALL)"
    assert problem.remedy == "Create a new one that it accepts"


def test_a_certificate_of_an_unknown_version_is_left_to_the_tls_library(files):
    der = x509.load_pem_x509_certificate(files.path("cert").read_bytes()).public_bytes(Encoding.DER)
    unknown = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    body = base64.encodebytes(unknown)
    files.write("cert", b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n")
    assert files.problems() == []
    tls = TlsSettings(cert=files.path("cert"), key=files.path("key"), ca=files.path("ca"))
    assert certificate_expiries(tls).keys() == {"ca"}


def test_an_authority_whose_extensions_cannot_be_read_is_left_to_the_tls_library():
    def fail(_):
        raise x509.DuplicateExtension("twice", x509.BasicConstraints.oid)

    certificate = SimpleNamespace(extensions=SimpleNamespace(get_extension_for_class=fail))
    assert certificates._is_authority(certificate)
