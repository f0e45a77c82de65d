"""Why a connection fails, found by walking the same way."""

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from brokers import free_port
from certificates import make_plain_authority
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt import diagnosis
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles
from presenced.sources.mqtt.diagnosis import Diagnostician, diagnose
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.symptoms import network_fault, tls_fault
from presenced.sources.mqtt.tls import client_context, examine_files
from source_harness import FILTER


def options(port=8883, tls=None, **more):
    return ConnectionOptions(
        endpoint="localhost", port=port, client_id="presenced", filters=[FILTER], tls=tls, **more
    )


def look(*args, **more):
    """What a diagnosis finds that does not wait long for a rejected certificate."""
    return diagnose(options(*args, alert_timeout=0.2, **more), FileSnapshot())


@contextlib.contextmanager
def server(certificates, *, alpn=(), after=None, tls=True):
    """A server for one connection after another; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(list(alpn))
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve():
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                if not tls:
                    connection.recv(1)
                    continue
                with context.wrap_socket(connection, server_side=True) as secured:
                    if after == "close":
                        secured.unwrap()
                    else:
                        secured.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    stopped.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_good_files_pass(certificates):
    assert examine_files(certificates.client) is None
    assert examine_files(TlsFiles()) is None
    assert examine_files(TlsFiles(ca=certificates.ca)) is None


def test_an_authority_without_key_usage_is_trusted_as_by_awscrt(certificates, tmp_path):
    ca, (cert, key) = make_plain_authority(tmp_path)
    with server(replace(certificates, server_cert=cert, server_key=key)) as port:
        assert look(port, replace(certificates.client, ca=ca)) is None


def test_dates_are_judged_at_the_given_time(certificates):
    now = datetime.now(UTC)
    assert examine_files(certificates.expired_client, now - timedelta(days=2)) is None
    fault = examine_files(certificates.expired_client, now)
    assert fault.reason is FaultReason.TLS_CLIENT_CERTIFICATE
    assert f"{certificates.expired_client.cert}: expired on" in fault.detail
    fault = examine_files(certificates.future_client, now)
    assert f"{certificates.future_client.cert}: is not valid before" in fault.detail


def test_each_unusable_file_is_named(certificates, tmp_path):
    good = certificates.client
    missing = tmp_path / "missing.pem"
    text = tmp_path / "text.pem"
    text.write_text("just a text")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for bad, words in (
        (missing, "no such file"),
        (tmp_path, "is a directory"),
        (text, "is not PEM"),
    ):
        for field in ("cert", "key", "ca"):
            fault = examine_files(replace(good, **{field: bad}))
            assert fault.reason is FaultReason.TLS_FILES
            assert f"mqtt.tls.{field} = {bad}: {words}" in fault.detail
    for field in ("cert", "key", "ca"):
        fault = examine_files(replace(good, **{field: broken}))
        assert fault.reason is FaultReason.TLS_FILES
        assert str(broken) in fault.detail


def test_authorities_must_be_valid(certificates):
    fault = examine_files(TlsFiles(ca=certificates.ca), datetime(9999, 1, 1, tzinfo=UTC))
    assert fault.reason is FaultReason.TLS_SERVER_CERTIFICATE
    assert f"mqtt.tls.ca = {certificates.ca}: expired on" in fault.detail


def test_the_ca_file_may_hold_the_certificate_of_the_server_itself(certificates):
    assert examine_files(TlsFiles(ca=certificates.server_cert)) is None


def test_a_key_of_another_certificate_is_named_with_it(certificates):
    fault = examine_files(certificates.mismatched_key)
    assert fault.reason is FaultReason.TLS_FILES
    assert str(certificates.mismatched_key.key) in fault.detail
    assert str(certificates.mismatched_key.cert) in fault.detail


def test_an_encrypted_key_prompts_for_no_password(certificates, tmp_path):
    key = serialization.load_pem_private_key(certificates.client.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    fault = examine_files(replace(certificates.client, key=encrypted))
    assert fault.reason is FaultReason.TLS_FILES
    assert "openssl pkey" in fault.remedy


def test_only_port_443_offers_alpn(certificates):
    assert options(443).alpn == ["x-amzn-mqtt-ca"]
    assert options(8883).alpn == []
    client_context(options(443, certificates.client))


def test_a_connection_without_faults(certificates):
    with server(certificates) as port:
        assert look(port, certificates.client) is None


def test_a_server_that_closes_after_the_handshake(certificates):
    with server(certificates, after="close") as port:
        fault = look(port, certificates.client)
    assert fault.reason is FaultReason.TLS_CLIENT_CERTIFICATE
    assert "right after the TLS handshake" in fault.detail


def test_alpn_that_the_server_does_not_accept(certificates):
    with server(certificates) as port:
        fault = look(port, certificates.client, alpn_port=port)
    assert fault.reason is FaultReason.TLS
    assert "x-amzn-mqtt-ca by ALPN" in fault.detail
    with server(certificates, alpn=["x-amzn-mqtt-ca"]) as port:
        assert look(port, certificates.client, alpn_port=port) is None


def test_a_closed_port_and_an_unknown_name():
    fault = look(free_port())
    assert fault.reason is FaultReason.UNREACHABLE
    assert "refused the TCP connection" in fault.detail


def test_plaintext_is_tried_for_tls_only(certificates):
    with server(certificates) as port:
        assert "expects TLS" in look(port).detail
    with server(certificates, tls=False) as port:
        assert look(port) is None


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (socket.gaierror(-2, "unknown"), FaultReason.NAME_RESOLUTION, "cannot be resolved"),
        (TimeoutError(), FaultReason.UNREACHABLE, "did not answer"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), FaultReason.UNREACHABLE, "refused"),
        (OSError(errno.ENETUNREACH, "no network"), FaultReason.UNREACHABLE, "no network"),
    ],
)
def test_network_errors(error, reason, words):
    fault = network_fault(error, options())
    assert fault.reason is reason
    assert words in fault.detail


def ssl_error(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("alert", "reason", "words"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", FaultReason.TLS_CLIENT_CERTIFICATE, "does not know the CA"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", FaultReason.TLS_CLIENT_CERTIFICATE, "expired"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", FaultReason.TLS_CLIENT_CERTIFICATE, "revoked"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", FaultReason.TLS_CLIENT_CERTIFICATE, "malformed"),
        ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", FaultReason.TLS, "by ALPN"),
        ("WRONG_VERSION_NUMBER", FaultReason.TLS, "does not speak TLS"),
        ("SOMETHING_NEW", FaultReason.TLS, "SOMETHING_NEW"),
    ],
)
def test_alerts(alert, reason, words, certificates):
    fault = tls_fault(ssl_error(alert), options(443, certificates.client))
    assert fault.reason is reason
    assert words in fault.detail
    assert "localhost:443" in fault.detail


SYMPTOM = Fault(FaultReason.TLS, "something with TLS")
CAUSE = Fault(FaultReason.TLS_FILES, "the cause")


class Examiner:
    def __init__(self, *findings):
        self.findings = list(findings)
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1
        return self.findings.pop(0) if self.findings else None


def test_one_diagnosis_serves_attempts_for_60_seconds(monkeypatch):
    clock = [0.0]
    examine = Examiner(CAUSE)
    monkeypatch.setattr(diagnosis, "diagnose", examine)

    async def scenario():
        doctor = Diagnostician(options(), clock=lambda: clock[0])
        assert await asyncio.gather(*(doctor.explain(SYMPTOM) for _ in range(5))) == [CAUSE] * 5
        assert examine.calls == 1
        clock[0] = 60.0
        assert await doctor.explain(SYMPTOM) == SYMPTOM
        assert examine.calls == 2

    asyncio.run(scenario())


def test_changed_files_or_another_symptom_are_diagnosed_again(tmp_path, monkeypatch):
    files = TlsFiles(ca=tmp_path / "ca.pem")
    examine = Examiner(CAUSE, None, CAUSE)
    monkeypatch.setattr(diagnosis, "diagnose", examine)
    other = Fault(FaultReason.CONNECT_REFUSED, "hung up")

    async def scenario():
        doctor = Diagnostician(options(tls=files))
        assert await doctor.explain(SYMPTOM) == CAUSE
        assert await doctor.explain(other) == other
        files.ca.write_text("new")
        assert await doctor.explain(other) == CAUSE
        assert examine.calls == 3

    asyncio.run(scenario())


def test_a_diagnosis_does_not_block_the_loop(monkeypatch):
    released = threading.Event()

    def examine(*_):
        assert released.wait(20)
        return CAUSE

    monkeypatch.setattr(diagnosis, "diagnose", examine)

    async def scenario():
        look = asyncio.create_task(Diagnostician(options()).explain(SYMPTOM))
        await asyncio.sleep(0)
        released.set()  # only a loop that runs on gets here
        assert await look == CAUSE

    asyncio.run(scenario())
