"""The daemon on brokers with TLS, passwords and permissions: ready, or not and why."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from brokers import free_port
from certificates import Certificates
from kafka_config import TOPICS, by_certificate, by_password, settings_of
from kafka_fleet import Publisher, Worker
from kafka_server import Kafka
from waiting import wait_for

PARTITIONS = 2
Login = dict[str, Any]
Right = tuple[ResourceType, str, AclOperation]


class Site:
    """A worker on topics of its own, created by an administrator, and what its user may do."""

    def __init__(self, kafka: Kafka, directory: Path, login: Login) -> None:
        self.kafka = kafka
        self.section = settings_of(kafka)
        self.worker = Worker(
            directory / "worker",
            kafka,
            kafka=dict(self.section),
            log={"level": "debug"},
            presence={"offline_delay": "0s"},
        )
        self._login = login

    def create_topics(self) -> None:
        admin = Worker(self.worker.config.parent / "admin", self.kafka, kafka=dict(self.section))
        admin.create_topics(PARTITIONS)

    def start(self) -> None:
        """Start the worker with its login."""
        self.worker.settings["kafka"].update(self._login)
        self.worker.write()
        self.worker.start()

    def rights(self) -> list[Right]:
        """What a worker needs, as docs/how-to/scale-out.md has it."""
        rights = [
            (ResourceType.TOPIC, self.section[topic], AclOperation[name])
            for topic in TOPICS
            for name in ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")
        ]
        group = self.section["group"]
        return [
            *rights,
            (ResourceType.TOPIC, self.section["state_topic"], AclOperation.WRITE),
            (ResourceType.TOPIC, self.section["global_state_topic"], AclOperation.WRITE),
            (ResourceType.GROUP, group, AclOperation.READ),
            (ResourceType.GROUP, group, AclOperation.DESCRIBE),
            (ResourceType.TRANSACTIONAL_ID, group, AclOperation.WRITE),
            (ResourceType.TRANSACTIONAL_ID, group, AclOperation.DESCRIBE),
        ]

    def grant(self, user: str, rights: list[Right]) -> None:
        for kind, name, operation in rights:
            pattern = (
                ResourcePatternType.PREFIXED
                if kind is ResourceType.TRANSACTIONAL_ID
                else ResourcePatternType.LITERAL
            )
            self.kafka.allow(user, operation, kind, name, pattern)

    def assert_works(self) -> None:
        """The worker gets ready and applies events."""
        self.worker.wait_until_ready()
        publisher = Publisher(self.kafka, self.section["topic"])
        publisher.report("here", "gone", connected=True)
        publisher.report("gone", connected=False)

        def shown() -> bool:
            view = self.worker.view()
            states = {name: up for name, (_, up) in view.connected.items()} if view else {}
            return states == {"here": True, "gone": False}

        wait_for(shown, what="the events are applied")

    def wait_for_problem(self, *said: str) -> None:
        """Until it is not ready and says why."""

        def is_said() -> bool:
            status, text = self.worker.get("/-/ready")
            return status == 503 and all(part in text for part in said)

        wait_for(is_said, 20, " and ".join(said))

    def assert_logged(self, cause: str, said: str) -> None:
        """All errors in its log have one cause."""
        found = [line for line in self.worker.log if "cause" in line]
        assert {line["cause"] for line in found} == {cause}
        assert said in found[0]["detail"]
        assert found[0]["remedy"]


def wrong_password(_: Site, security: dict[str, Any]) -> str:
    Path(security["password_file"]).write_text("not-the-password")
    return "does not accept the password of the user alice"


def wrong_user(_: Site, security: dict[str, Any]) -> str:
    security["username"] = "bob"
    Path(security["password_file"]).write_text("bob-secret")
    return "this user lacks a permission on the topic"


def wrong_authority(site: Site, security: dict[str, Any]) -> str:
    stranger = site.worker.config.parent / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    security["ca"] = str(stranger)
    return "is not valid"


def wrong_address(site: Site, _: dict[str, Any]) -> str:
    site.worker.settings["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{free_port()}"]
    return "refused the TCP connection"


def wrong_topic(site: Site, _: dict[str, Any]) -> str:
    site.worker.settings["kafka"]["state_topic"] = name = f"{site.section['state_topic']}-none"
    return f"this user lacks a permission on the topic {name}"


@pytest.fixture
def site_of(kafka: Kafka, tmp_path: Path) -> Iterator[Callable[[Login], Site]]:
    made: list[Site] = []

    def make(login: Login) -> Site:
        made.append(Site(kafka, tmp_path, login))
        return made[-1]

    yield make
    for site in made:
        site.worker.stop()


@pytest.fixture
def alice(kafka: Kafka, certificates: Certificates, tmp_path: Path) -> Login:
    return by_password(kafka, certificates, tmp_path)


@pytest.mark.parametrize("mechanism", ["certificate", "SCRAM-SHA-512", "PLAIN"])
def test_a_worker_with_the_documented_permissions_works(
    kafka: Kafka,
    site_of: Callable[[Login], Site],
    certificates: Certificates,
    tmp_path: Path,
    mechanism: str,
) -> None:
    if mechanism == "certificate":
        user, login = "client", by_certificate(kafka, certificates)
        secret = certificates.client.key.read_text().splitlines()[1]
    else:
        user, secret = "alice", "alice-secret"
        login = by_password(kafka, certificates, tmp_path, mechanism=mechanism)
    site = site_of(login)
    site.create_topics()
    site.grant(user, site.rights())
    site.start()
    site.assert_works()
    site.worker.signal(signal.SIGTERM)
    assert site.worker.wait(15) == 0
    log = site.worker.log_file.read_text()
    assert secret not in log
    assert "Traceback" not in log
    assert "cause" not in log


def test_a_wrong_password_until_it_is_corrected(
    site_of: Callable[[Login], Site], alice: Login
) -> None:
    site = site_of(alice)
    site.create_topics()
    site.grant("alice", site.rights())
    password = Path(alice["security"]["password_file"])
    password.write_text("not-the-password")
    site.start()
    said = "does not accept the password of the user alice (SCRAM-SHA-512)"
    site.wait_for_problem(said)
    site.assert_logged("authentication", said)
    password.write_text("alice-secret")
    site.worker.signal(signal.SIGHUP)
    site.assert_works()
    log = site.worker.log_file.read_text()
    assert "not-the-password" not in log
    assert "alice-secret" not in log


@pytest.mark.parametrize(
    "wrong", [wrong_password, wrong_user, wrong_authority, wrong_address, wrong_topic]
)
def test_a_reload_with_wrong_settings_keeps_the_connection(
    site_of: Callable[[Login], Site],
    alice: Login,
    wrong: Callable[[Site, dict[str, Any]], str],
) -> None:
    site = site_of(alice)
    worker, password = site.worker, Path(alice["security"]["password_file"])
    worker.settings["metrics"]["enable_reload_endpoint"] = True
    site.create_topics()
    site.grant("alice", site.rights())
    site.start()
    site.assert_works()
    before = yaml.safe_load(yaml.safe_dump(worker.settings["kafka"]))
    said = wrong(site, worker.settings["kafka"]["security"])
    worker.write()
    status, text = worker.post("/-/reload")
    assert status == 500
    assert said in text
    assert worker.ready
    assert worker.value("presenced_config_last_reload_successful") == 0
    Publisher(site.kafka, site.section["topic"]).report("later", connected=True)

    def is_applied() -> bool:
        view = worker.view()
        return view is not None and "later" in view.connected

    wait_for(is_applied, what="events are applied")
    # It has had its partitions all the time.
    restored = [line for line in worker.log if line["event"] == "partition restored"]
    assert len(restored) == PARTITIONS
    worker.settings["kafka"] = before
    password.write_text("alice-secret")
    worker.write()
    assert worker.post("/-/reload")[0] == 200
    assert worker.value("presenced_config_last_reload_successful") == 1
    log = worker.log_file.read_text()
    assert "not-the-password" not in log
    assert "-secret" not in log
    assert "Traceback" not in log


def test_a_missing_topic_until_it_is_created(
    site_of: Callable[[Login], Site], alice: Login
) -> None:
    site = site_of(alice)
    site.grant("alice", site.rights())
    site.start()
    said = f"the topic {site.section['topic']} does not exist"
    site.wait_for_problem(said, "presenced kafka create-topics")
    site.assert_logged("topic_missing", said)
    site.create_topics()
    site.assert_works()


def test_a_topic_that_was_given_more_partitions(
    site_of: Callable[[Login], Site], alice: Login
) -> None:
    site = site_of(alice)
    site.create_topics()
    site.grant("alice", site.rights())
    site.kafka.add_partitions(site.section["topic"], 3)
    site.start()
    said = f"the topic {site.section['topic']} has 3 partitions instead of 2"
    site.wait_for_problem(said)
    site.assert_logged("topic_wrong", said)


@pytest.mark.parametrize(
    ("kind", "where", "lacking", "said"),
    [
        (ResourceType.TOPIC, "topic", "READ", "the topic"),
        (ResourceType.TOPIC, "topic", "", "the topic"),
        (ResourceType.TOPIC, "global_topic", "READ", "the topic"),
        (ResourceType.TOPIC, "state_topic", "READ", "the topic"),
        (ResourceType.TOPIC, "state_topic", "WRITE", "the topic"),
        (ResourceType.TOPIC, "global_state_topic", "READ", "the topic"),
        (ResourceType.GROUP, "group", "READ", "the consumer group"),
        (ResourceType.TRANSACTIONAL_ID, "group", "WRITE", "transactional IDs that begin with"),
    ],
)
def test_a_missing_permission_is_named_until_it_is_granted(
    site_of: Callable[[Login], Site],
    alice: Login,
    kind: ResourceType,
    where: str,
    lacking: str,
    said: str,
) -> None:
    site = site_of(alice)
    site.create_topics()
    name = site.section[where]
    lack = [
        right for right in site.rights() if right[:2] == (kind, name) and lacking in right[2].name
    ]
    site.grant("alice", [right for right in site.rights() if right not in lack])
    site.start()
    resource = f"{name}-" if kind is ResourceType.TRANSACTIONAL_ID else name
    named = f"this user lacks a permission on {said} {resource}."
    site.wait_for_problem(named, "kafka-acls.sh", "presenced doctor")

    def is_logged() -> bool:
        log = site.worker.log_file.read_text()
        return "AUTHORIZATION_FAILED" in log or '"cause": "denied"' in log

    wait_for(is_logged, what="the log names it")
    site.grant("alice", lack)
    site.assert_works()
