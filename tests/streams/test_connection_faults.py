"""Why the client of Kafka has no connection, as a worker learns it: by the library alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificates
from kafka_config import by_certificate, by_password, settings_of
from kafka_server import Kafka
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.client_config import client_config
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.faults import Cause, KafkaFault, KafkaFaultError
from presenced.system import log


def connect(section: dict[str, Any]) -> Cluster:
    kafka = KafkaSettings.model_validate(section)
    cluster = Cluster(kafka, partial(client_config, kafka, FileSnapshot()), None)
    cluster.connect()
    return cluster


def fault_of(section: dict[str, Any]) -> KafkaFault:
    with pytest.raises(KafkaFaultError) as failed:
        connect(section)
    return failed.value.fault


Login = Callable[[Kafka, Certificates, Path], dict[str, Any]]


def certificate(**security: Callable[[Certificates], object]) -> Login:
    return lambda kafka, certificates, _: by_certificate(
        kafka, certificates, **{key: str(pick(certificates)) for key, pick in security.items()}
    )


def anonymous(kafka: Kafka, certificates: Certificates, _: Path) -> dict[str, Any]:
    return by_certificate(kafka, certificates, cert=None, key=None)


def password(text: str, **security: Any) -> Login:
    def login(kafka: Kafka, certificates: Certificates, directory: Path) -> dict[str, Any]:
        section = by_password(kafka, certificates, directory, **security)
        Path(section["security"]["password_file"]).write_text(text)
        return section

    return login


def to(server: str, **security: Any) -> Login:
    def login(*_: Any) -> dict[str, Any]:
        return {
            "bootstrap_servers": [server],
            "security": {"protocol": "PLAINTEXT", **security},
        }

    return login


def tls_to_plaintext(kafka: Kafka, certificates: Certificates, _: Path) -> dict[str, Any]:
    return {**by_certificate(kafka, certificates), "bootstrap_servers": [kafka.bootstrap]}


def plaintext_to_tls(kafka: Kafka, *_: Any) -> dict[str, Any]:
    return {"bootstrap_servers": [kafka.tls_bootstrap], "security": {"protocol": "PLAINTEXT"}}


FAULTS: dict[str, tuple[Login, Cause, str]] = {
    "unknown authority": (
        certificate(ca=lambda c: c.wrong_ca.ca),
        Cause.TLS_SERVER_CERTIFICATE,
        "kafka.security.ca",
    ),
    "foreign client certificate": (
        certificate(cert=lambda c: c.foreign_client.cert, key=lambda c: c.foreign_client.key),
        Cause.TLS_CLIENT_CERTIFICATE,
        "rejects the client certificate",
    ),
    "expired client certificate": (
        certificate(cert=lambda c: c.expired_client.cert, key=lambda c: c.expired_client.key),
        Cause.TLS_CLIENT_CERTIFICATE,
        "perhaps because it has expired",
    ),
    "no client certificate": (
        anonymous,
        Cause.TLS_CLIENT_CERTIFICATE,
        "without client certificate",
    ),
    "key of another certificate": (
        certificate(key=lambda c: c.mismatched_key.key),
        Cause.TLS_FILES,
        "key values mismatch",
    ),
    "wrong password of SCRAM": (password("no"), Cause.AUTHENTICATION, "the user alice (SCRAM"),
    "wrong password of PLAIN": (
        password("no", mechanism="PLAIN"),
        Cause.AUTHENTICATION,
        "the user alice (PLAIN)",
    ),
    "unknown user": (password("no", username="eve"), Cause.AUTHENTICATION, "the user eve"),
    "unknown mechanism": (
        password("no", mechanism="SCRAM-SHA-256"),
        Cause.AUTHENTICATION,
        "it offers PLAIN,SCRAM-SHA-512",
    ),
    "nothing listens": (to("127.0.0.1:1"), Cause.UNREACHABLE, "refused the TCP connection"),
    "unknown name": (to("kafka.invalid:9092"), Cause.NAME_RESOLUTION, "cannot be resolved"),
    "TLS to a port without": (tls_to_plaintext, Cause.TLS, "does not speak TLS"),
    "a port with TLS": (plaintext_to_tls, Cause.NO_ANSWER, "protocol of the port"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_it_is_told_apart(
    kafka: Kafka, certificates: Certificates, tmp_path: Path, case: str
) -> None:
    login, cause, expected = FAULTS[case]
    fault = fault_of(settings_of(kafka, **login(kafka, certificates, tmp_path)))
    assert fault.reason is cause, fault
    assert expected in str(fault)
    assert fault.remedy


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_user_with_the_right_password_is_let_in(
    kafka: Kafka, certificates: Certificates, tmp_path: Path, mechanism: str
) -> None:
    login = by_password(kafka, certificates, tmp_path, mechanism=mechanism)
    connect(settings_of(kafka, **login))


def test_a_client_certificate_is_let_in(kafka: Kafka, certificates: Certificates) -> None:
    connect(settings_of(kafka, **by_certificate(kafka, certificates)))


def test_a_token_that_the_brokers_do_not_take(kafka: Kafka, certificates: Certificates) -> None:
    """The brokers of the tests speak the mechanism, and know other tokens than those of AWS."""
    section = settings_of(
        kafka,
        bootstrap_servers=[kafka.sasl_bootstrap],
        security={
            "protocol": "SASL_SSL",
            "ca": str(certificates.ca),
            "mechanism": "AWS_MSK_IAM",
        },
    )
    settings = KafkaSettings.model_validate(section)
    asked: list[str | None] = []

    def tokens(config: str | None) -> tuple[str, float]:
        asked.append(config)
        return "dG9rZW4tdGhhdC1pcy1zZWNyZXQ", 4e9

    make_config = partial(client_config, settings, FileSnapshot(), tokens=tokens)
    with pytest.raises(KafkaFaultError) as failed:
        Cluster(settings, make_config, None).connect()
    assert asked
    assert failed.value.fault.reason is Cause.AUTHENTICATION
    assert "does not accept the credentials of AWS" in str(failed.value)
    assert "kafka-cluster:Connect" in str(failed.value)
    assert "dG9rZW4" not in str(failed.value)


def test_no_secret_and_no_address_gets_into_the_log(
    kafka: Kafka,
    certificates: Certificates,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")
    for login in (password("the-wrong-password"), to("127.0.0.1:1")):
        fault_of(settings_of(kafka, **login(kafka, certificates, tmp_path)))
    lines = "".join(capsys.readouterr())
    assert "problem in the Kafka client" in lines
    assert "the-wrong-password" not in lines
    assert "127.0.0.1" not in lines
