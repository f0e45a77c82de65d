"""The permissions that a worker needs on topics, its group and its transactional ID.

Operations are those of Kafka ("Authorization and ACLs" in its documentation), actions those of
"Amazon MSK: IAM access control" in the Service Authorization Reference.
"""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from presenced.settings.kafka import IAM, KafkaSettings
from presenced.settings.partitions import partition_of
from presenced.sources.kafka.faults import Cause, KafkaFault

Kind = Literal["topic", "group", "transactional-id", "cluster"]

_NOUNS: dict[Kind, str] = {
    "topic": "the topic",
    "group": "the consumer group",
    "transactional-id": "transactional IDs that begin with",
    "cluster": "the cluster",
}
_ACTIONS: dict[tuple[Kind, str], str] = {
    ("topic", "Describe"): "DescribeTopic",
    ("topic", "DescribeConfigs"): "DescribeTopicDynamicConfiguration",
    ("topic", "Read"): "ReadData",
    ("topic", "Write"): "WriteData",
    ("topic", "Create"): "CreateTopic",
    ("group", "Describe"): "DescribeGroup",
    ("group", "Read"): "AlterGroup",
    ("transactional-id", "Describe"): "DescribeTransactionalId",
    ("transactional-id", "Write"): "AlterTransactionalId",
    ("cluster", "Describe"): "DescribeCluster",
}


@dataclass(frozen=True, slots=True)
class Permission:
    """Operations on a resource; a transactional ID stands for all that begin with it."""

    kind: Kind
    name: str
    operations: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.operations)} on {self.resource}"

    @property
    def resource(self) -> str:
        """What it is about, in words."""
        return f"{_NOUNS[self.kind]} {self.name}".strip()

    def only(self, operations: Iterable[str]) -> "Permission":
        """Return the permission for some of the operations."""
        return Permission(self.kind, self.name, tuple(operations))


def transactional_id(kafka: KafkaSettings, member: str) -> str:
    """Return the transactional ID of a member of the group; all of a group have one beginning."""
    return f"{kafka.group}-{member}"


def topic_permission(kafka: KafkaSettings, topic: str, *, asks_aws: bool = False) -> Permission:
    """Return what a worker does with a topic; if it `asks_aws`, it writes the answers as events."""
    writes = topic in (kafka.state_topic, kafka.global_state_topic)
    writes |= asks_aws and topic == kafka.topic
    operations = ("Describe", "DescribeConfigs", "Read", *(("Write",) if writes else ()))
    return Permission("topic", topic, operations)


def group_permission(kafka: KafkaSettings) -> Permission:
    """Return what a worker does with its group."""
    return Permission("group", kafka.group, ("Describe", "Read"))


def transaction_permission(kafka: KafkaSettings) -> Permission:
    """Return what a worker does with its transactional ID."""
    return Permission("transactional-id", transactional_id(kafka, ""), ("Describe", "Write"))


def denied(kafka: KafkaSettings, missing: Permission, region: str | None) -> KafkaFault:
    """Return the fault of a missing permission, with what grants it."""
    detail = f"this user lacks the permission {missing}"
    return KafkaFault(Cause.DENIED, detail, _remedy(kafka, missing, region))


def refused(kafka: KafkaSettings, needed: Permission, region: str | None) -> KafkaFault:
    """Return the fault of a refusal that does not say which of the needed operations is missing."""
    return KafkaFault(
        Cause.DENIED,
        f"this user lacks a permission on {needed.resource}",
        f"It needs {' and '.join(needed.operations)}, and `presenced doctor` names what is missing."
        f" {_remedy(kafka, needed, region)}",
    )


def _remedy(kafka: KafkaSettings, missing: Permission, region: str | None) -> str:
    if kafka.security.mechanism == IAM:
        return _policy(missing, region)
    return (
        f"Grant it with `{_acl_command(kafka, missing)}`, adding the --command-config of an"
        " administrator where the cluster needs one"
    )


def _acl_command(kafka: KafkaSettings, missing: Permission) -> str:
    return " ".join(
        [
            f"kafka-acls.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --add",
            f"--allow-principal {shlex.quote(_principal(kafka))}",
            *(f"--operation {operation}" for operation in missing.operations),
            *_resource(missing),
        ]
    )


def _resource(missing: Permission) -> Iterator[str]:
    if missing.kind == "cluster":
        yield "--cluster"
        return
    yield f"--{missing.kind} {shlex.quote(missing.name)}"
    if missing.kind == "transactional-id":
        yield "--resource-pattern-type prefixed"


def _principal(kafka: KafkaSettings) -> str:
    security = kafka.security
    if security.username:
        return f"User:{security.username}"
    return "User:SUBJECT OF THE CLIENT CERTIFICATE" if security.cert else "User:ANONYMOUS"


def _policy(missing: Permission, region: str | None) -> str:
    name = partition_of(region).name if region else "aws"
    path = {
        "cluster": "cluster/CLUSTER/*",
        "transactional-id": f"transactional-id/CLUSTER/*/{missing.name}*",
    }.get(missing.kind, f"{missing.kind}/CLUSTER/*/{missing.name}")
    actions = [f"kafka-cluster:{_ACTIONS[missing.kind, each]}" for each in missing.operations]
    statement = {
        "Effect": "Allow",
        "Action": actions,
        "Resource": f"arn:{name}:kafka:{region or 'REGION'}:ACCOUNT:{path}",
    }
    idempotent = (
        "; to write, kafka-cluster:WriteDataIdempotently on the cluster is needed too"
        if "Write" in missing.operations
        else ""
    )
    return f"Add to the policy of the role: {json.dumps(statement)}{idempotent}"
