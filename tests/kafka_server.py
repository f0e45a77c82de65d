"""A real Apache Kafka for tests: one node in KRaft mode on loopback."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives import serialization

from brokers import free_port
from certificates import Certificates
from java_server import JavaServer, need_java
from waiting import wait_for

_CLUSTER_ID = "cHJlc2VuY2VkLXRlc3RzMQ"
_LOGGING = Path(__file__).parent / "streams" / "kafka" / "log4j2.xml"
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # One node.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Small and quick.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the controller waits so long before it lets the broker in again.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # A dead worker is noticed in seconds, in both protocols.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "500",
}


class Kafka(JavaServer):
    """An Apache Kafka on fixed loopback ports, so that it can be restarted under its clients.

    `bootstrap` is a plaintext listener, whose clients may do everything. With `certificates` there
    are two more, whose clients may do what `allow` has granted them: `tls_bootstrap` demands client
    certificates, and a client's user is the common name of its certificate; `sasl_bootstrap` speaks
    TLS and takes the passwords of `users` by PLAIN and SCRAM-SHA-512, and OAUTHBEARER tokens that
    are unsigned JWTs. `settings` are more of its server.properties. Its program is that of `jars`
    in build/: `kafka`, or `kafka-3.9` and `kafka-3.6`, which lack the protocol `consumer`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificates: Certificates | None = None,
        users: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        heap: str = "384m",
        jars: str = "kafka",
    ) -> None:
        self.port, self.tls_port, self.sasl_port = free_port(), free_port(), free_port()
        self._users = users or {}
        self._jars = jars
        controller = free_port()
        listeners = {"PLAINTEXT": self.port}
        if certificates:
            listeners |= {"SSL": self.tls_port, "SASL_SSL": self.sasl_port}
        self._config = directory / "server.properties"
        properties = {
            **_SETTINGS,
            "log.dirs": str(directory / "data"),
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": _addresses({**listeners, "CONTROLLER": controller}),
            "advertised.listeners": _addresses(listeners),
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in listeners)]
            ),
            **(self._security(directory, certificates) if certificates else {}),
            **(settings or {}),
        }
        self._config.write_text("".join(f"{key}={text}\n" for key, text in properties.items()))
        super().__init__(
            jars,
            directory,
            ["kafka.Kafka", str(self._config)],
            ready="Kafka Server started",
            heap=heap,
            properties={"log4j2.configurationFile": str(_LOGGING)},
        )

    @property
    def bootstrap(self) -> str:
        """The address of the plaintext listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def tls_bootstrap(self) -> str:
        """The address of the listener with client certificates."""
        return f"127.0.0.1:{self.tls_port}"

    @property
    def sasl_bootstrap(self) -> str:
        """The address of the listener with passwords and tokens."""
        return f"127.0.0.1:{self.sasl_port}"

    def launch(self) -> None:
        """Start it without waiting; the first time, format its storage before."""
        if not (self.directory / "data").exists():
            self._format()
        super().launch()

    def _format(self) -> None:
        scram = [
            f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]"
            for name, password in self._users.items()
        ]
        command = ["kafka.tools.StorageTool", "format", f"--config={self._config}"]
        subprocess.run(
            [*need_java(self._jars), *command, f"--cluster-id={_CLUSTER_ID}", *scram],
            check=True,
            capture_output=True,
        )

    def _security(self, directory: Path, certificates: Certificates) -> dict[str, str]:
        store = directory / "server.pem"
        key = serialization.load_pem_private_key(certificates.server_key.read_bytes(), None)
        # Kafka reads keys in the form of PKCS 8 only.
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        store.write_bytes(pem + certificates.server_cert.read_bytes())
        passwords = " ".join(f'user_{name}="{word}"' for name, word in self._users.items())
        module = "org.apache.kafka.common.security"
        sasl = "listener.name.sasl_ssl"
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates.ca),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "listener.name.ssl.ssl.client.auth": "required",
            f"{sasl}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            f"{sasl}.plain.sasl.jaas.config": (
                f"{module}.plain.PlainLoginModule required {passwords};"
            ),
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            f"{sasl}.oauthbearer.sasl.jaas.config": (
                f"{module}.oauthbearer.OAuthBearerLoginModule required"
                ' unsecuredLoginStringClaim_sub="kafka";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The plaintext listener knows no users.
            "super.users": "User:ANONYMOUS",
        }

    @cached_property
    def admin(self) -> AdminClient:
        """A client of the plaintext listener that may do everything."""
        # Tests end it, which it would log.
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Create a topic; in the names of its configuration `_` stands for `.`."""
        topic = NewTopic(
            name,
            num_partitions=partitions,
            replication_factor=1,
            config={key.replace("_", "."): text for key, text in config.items()},
        )
        self.admin.create_topics([topic])[name].result(30)

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and return when its name is free again."""
        self.admin.delete_topics([name])[name].result(30)
        wait_for(lambda: name not in self.admin.list_topics(timeout=30).topics, what=name)

    def add_partitions(self, topic: str, total: int) -> None:
        """Let a topic have more partitions."""
        wait_for(lambda: topic in self.admin.list_topics(timeout=30).topics, what=topic)
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)

    def configure_topic(self, topic: str, name: str, value: str) -> None:
        """Set one entry of the configuration of a topic."""
        self._configure(ResourceType.TOPIC, topic, name, value)

    def configure_group(self, group: str, name: str, value: str) -> None:
        """Set one entry of the configuration of a group."""
        self._configure(ResourceType.GROUP, group, name, value)

    def _configure(self, kind: ResourceType, of: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(kind, of, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def allow(
        self,
        user: str,
        operation: AclOperation,
        kind: ResourceType,
        name: str = "kafka-cluster",
        pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    ) -> None:
        """Grant a user an operation on a topic, a group, a transactional ID or the cluster."""
        self._rule(AclPermissionType.ALLOW, user, operation, kind, name, pattern)

    def deny(self, user: str, operation: AclOperation, kind: ResourceType, name: str) -> None:
        """Refuse a user an operation that it is granted otherwise."""
        pattern = ResourcePatternType.LITERAL
        self._rule(AclPermissionType.DENY, user, operation, kind, name, pattern)

    def _rule(
        self,
        permission: AclPermissionType,
        user: str,
        operation: AclOperation,
        kind: ResourceType,
        name: str,
        pattern: ResourcePatternType,
    ) -> None:
        binding = AclBinding(kind, name, pattern, f"User:{user}", "*", operation, permission)
        self.admin.create_acls([binding])[binding].result(30)

    def produce(self, topic: str, *records: tuple[str | None, bytes], **more: Any) -> None:
        """Produce (key, value) records and return when all are written."""
        failed: list[object] = []
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        for key, value in records:
            producer.produce(
                topic,
                value,
                key,
                on_delivery=lambda error, _: failed.append(error) if error else None,
                **more,
            )
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed, failed

    @contextmanager
    def consumer(self, group: str, **config: Any) -> Iterator[Consumer]:
        """A consumer of a group that begins at the beginning, closed in the end."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **{key.replace("_", "."): value for key, value in config.items()},
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def records(self, topic: str, partition: int = 0) -> list[tuple[bytes | None, bytes | None]]:
        """The committed (key, value) records of a partition."""
        with self.consumer("reader", isolation_level="read_committed") as consumer:
            where = TopicPartition(topic, partition, 0)
            _, end = consumer.get_watermark_offsets(where, timeout=30)
            consumer.assign([where])
            found: list[tuple[bytes | None, bytes | None]] = []
            while consumer.position([where])[0].offset < end:
                message = consumer.poll(1)
                if message is not None:
                    assert message.error() is None, message.error()
                    found.append((message.key(), message.value()))
        return found


def _addresses(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
