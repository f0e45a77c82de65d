"""`presenced doctor` with Kafka: it distinguishes the causes of failures, and each remedy works."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from certificates import Certificates
from emulator_aws import Fleet as Account
from emulator_aws import in_thread
from kafka_config import TOPICS, by_certificate, by_password, settings_of, write_config
from kafka_server import Kafka
from presenced.cli import main
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from waiting import wait_for

Step = dict[str, str]


class Doctor:
    """Runs the doctor with a section `kafka`."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._capsys = capsys

    def __call__(self, section: dict[str, Any], **more: Any) -> dict[str, Step]:
        """The steps by name."""
        return by_name(self.report(section, **more)["connections"][0]["steps"])

    def report(self, section: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The whole report."""
        config = write_config(self._directory, section, **more)
        status = main(["doctor", "--config", config, "--json"])
        report: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert report["ok"] is (status == 0)
        return report

    def create_topics(self, section: dict[str, Any], kafka: Kafka) -> None:
        """Create the topics of a section, as an administrator."""
        admin = {
            **section,
            "bootstrap_servers": [kafka.bootstrap],
            "security": {"protocol": "PLAINTEXT"},
        }
        config = write_config(self._directory, admin)
        assert main(["kafka", "create-topics", "--config", config, "--partitions", "2"]) == 0
        self._capsys.readouterr()


def by_name(steps: list[Step]) -> dict[str, Step]:
    return {step["step"]: step for step in steps}


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)


def failed(steps: dict[str, Step]) -> dict[str, str]:
    """What failed, and all that is said about it."""
    return {
        name: f"{step['detail']} {step['remedy']}"
        for name, step in steps.items()
        if step["status"] == "failed"
    }


def the_failure(steps: dict[str, Step]) -> tuple[str, str]:
    """The one step that failed, and all that is said about it."""
    found = failed(steps)
    assert len(found) == 1, found
    return next(iter(found.items()))


def test_a_cluster_without_faults(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    steps = doctor(section)
    assert failed(steps) == {}
    assert {step["status"] for step in steps.values()} == {"ok"}, steps
    assert steps["authentication"]["detail"] == "anonymous"
    assert steps[f"topic {section['topic']}"]["detail"] == "2 partitions, kept for 7d"
    assert steps[f"topic {section['state_topic']}"]["detail"] == "2 partitions, compacted"
    assert steps[f"group {section['group']}"]["detail"] == "no members yet"
    assert steps["leaders of partitions"]["detail"] == "those of 6 partitions answer"


def test_it_joins_no_group(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    with kafka.consumer(section["group"], group_protocol="consumer") as consumer:
        consumer.subscribe([section["topic"]])
        while not consumer.assignment():
            consumer.poll(0.1)
        before = consumer.memberid(), sorted(part.partition for part in consumer.assignment())
        steps = doctor(section)
        consumer.poll(0.1)
        after = consumer.memberid(), sorted(part.partition for part in consumer.assignment())
    assert steps[f"group {section['group']}"]["detail"] == "stable, 1 member"
    assert before == after


def test_a_missing_topic(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    found = failed(doctor(section))
    assert set(found) == {f"topic {section[key]}" for key in TOPICS}
    assert "does not exist" in found[f"topic {section['topic']}"]
    assert "presenced kafka create-topics" in found[f"topic {section['topic']}"]


def test_a_wrong_number_of_partitions(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    kafka.add_partitions(section["topic"], 3)
    step, said = the_failure(doctor(section))
    assert step == f"topic {section['topic']}"
    assert "has 3 partitions instead of 2" in said


def test_a_wrong_setting_of_a_topic(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    kafka.configure_topic(section["state_topic"], "cleanup.policy", "compact,delete")
    step, said = the_failure(doctor(section))
    assert step == f"topic {section['state_topic']}"
    assert "kafka-configs.sh" in said


def test_a_lease_that_is_longer_than_the_session_of_the_group_is_a_warning(
    kafka: Kafka, doctor: Doctor
) -> None:
    section = settings_of(kafka, lease="20s")
    doctor.create_topics(section, kafka)
    group = doctor(section)[f"group {section['group']}"]
    assert group["status"] == "warning"
    assert "after 6s without a heartbeat" in group["detail"]
    assert group["remedy"].startswith("Set kafka.lease to at most 5s500ms, or raise")
    kafka.configure_group(section["group"], "consumer.session.timeout.ms", "30000")
    assert doctor(section)[f"group {section['group']}"]["status"] == "ok"


def test_a_short_retention_is_a_warning(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    kafka.configure_topic(section["topic"], "retention.ms", "60000")
    steps = doctor(section)
    assert failed(steps) == {}
    assert steps[f"topic {section['topic']}"]["status"] == "warning"


def test_a_wrong_password(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, tmp_path: Path
) -> None:
    section = settings_of(kafka, **by_password(kafka, certificates, tmp_path))
    for mechanism in ("SCRAM-SHA-512", "PLAIN"):
        section["security"]["mechanism"] = mechanism
        Path(section["security"]["password_file"]).write_text("not-the-password")
        step, said = the_failure(doctor(section))
        assert step == "authentication"
        assert f"does not accept the password of the user alice ({mechanism})" in said
        assert "kafka.security.password_file" in said
        assert "not-the-password" not in said


def test_a_mechanism_that_the_brokers_do_not_offer(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, tmp_path: Path
) -> None:
    login = by_password(kafka, certificates, tmp_path, mechanism="SCRAM-SHA-256")
    step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == "authentication"
    assert "does not offer the mechanism SCRAM-SHA-256; it offers PLAIN,SCRAM-SHA-512" in said


def grant(kafka: Kafka, said: str) -> list[str]:
    """Do what the `kafka-acls` command in a text does; return the operations."""
    command = re.search(r"`kafka-acls.sh (.*?)`", said)
    assert command is not None, said
    principal = re.search(r"--allow-principal User:(\S+)", command[1])
    resource = re.search(r"--(topic|group|transactional-id) (\S+)", command[1])
    assert principal is not None
    assert resource is not None
    operations: list[str] = re.findall(r"--operation (\w+)", command[1])
    prefixed = "--resource-pattern-type prefixed" in command[1]
    for name in operations:
        kafka.allow(
            principal[1],
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()],
            ResourceType[resource[1].replace("-", "_").upper()],
            resource[2],
            ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL,
        )
    return operations


def test_each_missing_permission_is_told_with_the_command_that_grants_it(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, tmp_path: Path
) -> None:
    section = settings_of(kafka, **by_password(kafka, certificates, tmp_path))
    doctor.create_topics(section, kafka)
    seen: set[str] = set()
    for _ in range(8):
        found = failed(doctor(section))
        seen |= set(found)
        if not found:
            break
        for said in found.values():
            grant(kafka, said)
    else:
        pytest.fail(str(found))
    group = f"group {section['group']}"
    assert doctor(section)[group]["status"] == "ok"
    step = doctor(section | {"lease": "60s"})[group]
    assert "by Kafka's defaults: the lease is 40s instead" in step["detail"]
    assert "grant this user DescribeConfigs" in step["remedy"]
    assert {f"topic {section[key]}" for key in TOPICS} <= seen
    assert f"permissions for {section['state_topic']}" in seen
    assert {f"group {section['group']}", "transactions"} <= seen


def test_a_permission_that_is_taken_back_is_named_alone(
    kafka: Kafka, doctor: Doctor, certificates: Certificates
) -> None:
    section = settings_of(kafka, **by_certificate(kafka, certificates))
    doctor.create_topics(section, kafka)
    for key in TOPICS:
        for name in ("DESCRIBE", "DESCRIBE_CONFIGS", "READ"):
            kafka.allow("client", AclOperation[name], ResourceType.TOPIC, section[key])
    kafka.allow("client", AclOperation.READ, ResourceType.GROUP, section["group"])
    kafka.allow("client", AclOperation.WRITE, ResourceType.TOPIC, section["state_topic"])
    kafka.allow(
        "client",
        AclOperation.WRITE,
        ResourceType.TRANSACTIONAL_ID,
        f"{section['group']}-",
        ResourcePatternType.PREFIXED,
    )
    steps = doctor(section)
    step, said = the_failure(steps)
    assert step == f"permissions for {section['global_state_topic']}"
    assert "lacks the permission Write on the topic" in said
    assert steps["authentication"]["detail"].startswith("by the client certificate")


def test_a_client_certificate_that_the_brokers_do_not_trust(
    kafka: Kafka, doctor: Doctor, certificates: Certificates
) -> None:
    foreign = certificates.foreign_client
    login = by_certificate(kafka, certificates, cert=str(foreign.cert), key=str(foreign.key))
    step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == f"TCP and TLS {kafka.tls_bootstrap}"
    assert f"rejects the client certificate {foreign.cert}" in said


def test_no_client_certificate(kafka: Kafka, doctor: Doctor, certificates: Certificates) -> None:
    login = by_certificate(kafka, certificates, cert=None, key=None)
    step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == f"TCP and TLS {kafka.tls_bootstrap}"
    assert "rejects a connection without client certificate" in said
    assert "kafka.security.cert" in said


def test_files_that_do_not_fit(kafka: Kafka, doctor: Doctor, certificates: Certificates) -> None:
    login = by_certificate(kafka, certificates, key=str(certificates.mismatched_key.key))
    step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == "certificate files"
    assert "kafka.security.key" in said


def test_brokers_that_are_not_trusted(
    kafka: Kafka, doctor: Doctor, certificates: Certificates
) -> None:
    login = by_certificate(kafka, certificates, ca=str(certificates.wrong_ca.ca))
    step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == f"TCP and TLS {kafka.tls_bootstrap}"
    assert f"cannot be verified with the CA file {certificates.wrong_ca.ca}" in said


@contextmanager
def tls_server(pair: tuple[Path, Path]) -> Iterator[str]:
    """The address of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield f"localhost:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("expired_server", "has expired"),
        ("other_name_server", "names that the certificates hold"),
    ],
)
def test_a_wrong_certificate_of_a_broker(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, which: str, expected: str
) -> None:
    with tls_server(getattr(certificates, which)) as address:
        login = {**by_certificate(kafka, certificates), "bootstrap_servers": [address]}
        step, said = the_failure(doctor(settings_of(kafka, **login)))
    assert step == f"TCP and TLS {address}"
    assert expected in said


def test_no_broker(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka, bootstrap_servers=["127.0.0.1:1"])
    step, said = the_failure(doctor(section))
    assert step == "TCP 127.0.0.1:1"
    assert "refused the TCP connection" in said


def test_an_unknown_name(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka, bootstrap_servers=["kafka.invalid:9092"])
    step, said = the_failure(doctor(section))
    assert step == "name resolution kafka.invalid:9092"
    assert "kafka.bootstrap_servers" in said


def test_one_of_two_servers_is_enough_to_go_on(kafka: Kafka, doctor: Doctor) -> None:
    section = settings_of(kafka, bootstrap_servers=["127.0.0.1:1", kafka.bootstrap])
    doctor.create_topics(section, kafka)
    steps = doctor(section)
    assert the_failure(steps)[0] == "TCP 127.0.0.1:1"
    assert steps["transactions"]["status"] == "ok"


@pytest.mark.parametrize("protocol", ["PLAINTEXT to TLS", "TLS to PLAINTEXT", "SSL to SASL_SSL"])
def test_a_port_for_another_protocol(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, protocol: str
) -> None:
    with_tls = by_certificate(kafka, certificates)
    login, expected = {
        "PLAINTEXT to TLS": ({"bootstrap_servers": [kafka.tls_bootstrap]}, "protocol of the port"),
        "TLS to PLAINTEXT": ({**with_tls, "bootstrap_servers": [kafka.bootstrap]}, "not speak TLS"),
        "SSL to SASL_SSL": (
            {**with_tls, "bootstrap_servers": [kafka.sasl_bootstrap]},
            "protocol of the port",
        ),
    }[protocol]
    _, said = the_failure(doctor(settings_of(kafka, **login)))
    assert expected in said


def test_brokers_that_name_an_address_that_cannot_be_reached(kafka_of: Any, doctor: Doctor) -> None:
    kafka = kafka_of(settings={"advertised.listeners": "PLAINTEXT://kafka.invalid:9092"})
    found: list[tuple[str, str]] = []

    def is_told() -> bool:
        found[:] = [the_failure(doctor(settings_of(kafka)))]
        return found[0][0] == "advertised addresses"

    # Just after its start a broker can be slow to answer: the doctor then fails at authentication.
    wait_for(is_told, 60, "the step that fails")
    said = found[0][1]
    assert "the name kafka.invalid cannot be resolved" in said
    assert "advertised.listeners" in said


def test_people_see_the_steps(
    kafka: Kafka, doctor: Doctor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    assert main(["doctor", "--config", write_config(tmp_path, section)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Kafka at {kafka.bootstrap}"
    assert lines[-1] == "Everything is well."


def test_it_makes_the_requests_of_a_worker_that_asks_aws(
    kafka: Kafka, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = settings_of(kafka)
    doctor.create_topics(section, kafka)
    account = Account()
    account.create("pump")
    with in_thread(AwsServer(account.account, issue(tmp_path).aws, seed=1)) as server:
        credentials = server.issue("presenced-role")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", credentials.session_token)
        server.faults.denied.add("GetConnection")
        url = server.http_url
        aws = {"region": "eu-west-1", "iot_url": url, "data_url": url}
        report = doctor.report(section, aws=aws, reconcile={"enabled": True})
    steps = by_name(report["aws"])
    assert list(failed(steps)) == ["GetConnection"]
    assert {"SearchIndex", "DescribeThingGroup"} <= set(steps)
    assert not any("subscriptions" in step for step in steps), "rules subscribe to nothing"
    assert failed(by_name(report["connections"][0]["steps"])) == {}


def test_a_worker_that_asks_aws_must_write_events(
    kafka: Kafka, doctor: Doctor, certificates: Certificates, tmp_path: Path
) -> None:
    section = settings_of(kafka, **by_password(kafka, certificates, tmp_path))
    doctor.create_topics(section, kafka)
    url = "https://localhost:1"
    aws = {"region": "eu-west-1", "iot_url": url, "data_url": url}
    step = f"permissions for {section['topic']}"
    for _ in range(8):
        found = failed(doctor(section))
        if not found:
            break
        for said in found.values():
            grant(kafka, said)
    report = doctor.report(section, aws=aws, reconcile={"enabled": True})
    found = failed(by_name(report["connections"][0]["steps"]))
    assert list(found) == [step]
    assert grant(kafka, found[step]) == ["Write"]
    report = doctor.report(section, aws=aws, reconcile={"enabled": True})
    assert failed(by_name(report["connections"][0]["steps"])) == {}
