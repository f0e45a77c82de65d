"""The IoT rules of config/aws/ for SQS and Kafka: alike by every way, and right for each event."""

import json
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cloudformation import substituted, template
from presenced.aws.queue import Queue
from presenced.events.decode import decode
from presenced.events.topics import EVENT_FILTERS, route
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.permissions import (
    Permission,
    denied,
    group_permission,
    topic_permission,
    transaction_permission,
)
from presenced.sources.records import SELECT_TOPIC, read_record
from terraform import declared_resources, terraform

ROOT = Path(__file__).parents[2]
AWS = ROOT / "config" / "aws"
TERRAFORM = AWS / "terraform"
SQS, KAFKA = AWS / "cloudformation-sqs.yaml", AWS / "cloudformation-kafka.yaml"
RULES: dict[str, dict[str, str]] = json.loads((AWS / "kafka-rules.json").read_text())
QUEUE_POLICY: dict[str, Any] = json.loads((AWS / "sqs-policy.json").read_text())
MSK_POLICY: dict[str, Any] = json.loads((AWS / "msk-policy.json").read_text())
CLUSTER_ARN = "arn:aws:kafka:eu-west-1:111122223333:cluster/main/6f3-1"
# Of these nothing but the topic or the payload's own names can be the key.
PER_CLIENT = {
    "presence",
    "subscriptions",
    "thing",
    "thing_type_association",
    "thing_group_membership",
}


@pytest.mark.parametrize("file", [SQS, KAFKA], ids=lambda file: file.name)
def test_cfn_lint_finds_nothing(file: Path) -> None:
    lint = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([lint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# Which rule an event takes, and its key.


def rules_of(topic: str) -> list[str]:
    return [name for name, rule in RULES.items() if topic.startswith(rule["filter"][:-1])]


@pytest.mark.parametrize("topic", EVENT_FILTERS)
def test_each_event_topic_has_exactly_one_rule(topic: str) -> None:
    assert len(rules_of(topic.replace("#", "x/y").replace("+", "x"))) == 1


def key_of(key: str, topic: str, payload: dict[str, Any]) -> str:
    """What AWS's rules engine puts in place of these two kinds of templates."""
    (expression,) = re.findall(r"^\$\{(.+)\}$", key)
    level = re.fullmatch(r"topic\((\d)\)", expression)
    return topic.split("/")[int(level[1]) - 1] if level else payload[expression]


def published() -> Iterator[tuple[str, dict[str, Any]]]:
    """Events as AWS publishes them, each with its topic."""
    for line in (ROOT / "tests/events/fixtures.jsonl").read_text().splitlines():
        sample = json.loads(line)
        if "event" in sample and {"eventId", "clientId"} & set(sample["payload"]):
            yield sample["topic"], sample["payload"]
    for client_id in ("pump-1", "plant/7 a", "ü"):
        for kind in ("presence/connected", "presence/disconnected", "subscriptions/subscribed"):
            payload = {"clientId": client_id, "timestamp": 1795231104382, "versionNumber": 1}
            yield f"$aws/events/{kind}/{client_id}", payload


def test_the_key_is_the_client_or_thing() -> None:
    seen = set()
    for topic, payload in published():
        family, _, names = route(topic)
        (name,) = rules_of(topic)
        if family not in PER_CLIENT:
            assert "key" not in RULES[name], "for the topic with one partition"
            continue
        seen.add(family)
        expected = names[1] if family == "thing_group_membership" else names[0]
        assert key_of(RULES[name]["key"], topic, payload) == expected
    assert seen == PER_CLIENT


def test_what_the_rules_send_is_read_as_what_aws_published() -> None:
    """The records that the SQL of both kinds makes of each event."""
    for topic, payload in published():
        bare = json.dumps(payload).encode()
        expected = decode(topic, bare, 0.0)
        flat = json.dumps({**payload, "topic": topic}).encode()
        for record in (
            read_record(flat),
            read_record(b64encode(flat)),
            read_record(bare, topic),
        ):
            assert record[0] == topic
            assert decode(*record, 0.0) == expected


# SQS


def test_the_sqs_stack_gives_the_daemon_what_it_needs() -> None:
    resources = template(SQS)["Resources"]
    document = resources["DaemonPolicy"]["Properties"]["PolicyDocument"]
    assert substituted(document, Name="presenced") == QUEUE_POLICY
    second = resources["SecondDaemonPolicy"]["Properties"]["PolicyDocument"]
    expected = json.dumps(QUEUE_POLICY).replace(":presenced", ":presenced_b")
    assert substituted(second, Name="presenced") == json.loads(expected)


def test_the_daemon_asks_for_nothing_that_its_policy_lacks() -> None:
    queue = Queue("https://sqs.eu-west-1.amazonaws.com/111122223333/presenced")
    requests = (
        queue.receive(wait=20, visibility=30),
        queue.delete(["x"]),
        queue.change_visibility(["x"], 30),
        queue.describe(),
    )
    (statement,) = QUEUE_POLICY["Statement"]
    assert statement["Action"] == [request.operation.permission for request in requests]


def test_the_sqs_rule_keeps_the_topic_and_has_an_error_action() -> None:
    stack = template(SQS)
    payload = stack["Resources"]["Rule"]["Properties"]["TopicRulePayload"]
    assert stack["Parameters"]["TopicFilter"]["Default"] == "$aws/events/#"
    assert substituted(payload["Sql"], TopicFilter="$aws/events/#") == SELECT_TOPIC
    assert payload["ErrorAction"]["Sqs"]["QueueUrl"] == {"Ref": "ErrorQueue"}


@pytest.fixture(scope="module")
def account() -> Iterator[Any]:
    """Makes clients of an emulated account."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield lambda service: boto3.client(
        service,
        "eu-west-1",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    server.stop()


@pytest.mark.filterwarnings("ignore:Tried to parse")  # moto makes no queue policies and rules
@pytest.mark.parametrize(("pair", "queues"), [("false", 1), ("true", 2)])
def test_the_sqs_stack_can_be_created(account: Any, pair: str, queues: int) -> None:
    name = f"presenced_{pair}"
    parameters = {"Name": name, "RetentionDays": "9", "Pair": pair}
    account("cloudformation").create_stack(
        StackName=f"stack-{pair}",
        TemplateBody=SQS.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )
    (stack,) = account("cloudformation").describe_stacks(StackName=f"stack-{pair}")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    urls = [outputs[key] for key in ("QueueUrl", "SecondQueueUrl") if key in outputs]
    assert len(urls) == queues
    sqs = account("sqs")
    for url in urls:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["MessageRetentionPeriod"] == str(9 * 86400)
        assert "RedrivePolicy" not in attributes
        assert "FifoQueue" not in attributes
    policy = account("iam").get_policy(PolicyArn=outputs["DaemonPolicyArn"])["Policy"]
    assert policy["DefaultVersionId"]


# Kafka


def kafka_rules() -> dict[str, dict[str, Any]]:
    """The rules of the stack, with the loops over the mappings done."""
    stack = template(KAFKA)
    resources, found = stack["Resources"], {}
    for loop, mapping in (("KeyedRules", "Keyed"), ("GlobalRules", "Global")):
        variable, kinds, outputs = resources[f"Fn::ForEach::{loop}"]
        assert kinds == list(stack["Mappings"][mapping])
        (rule,) = outputs.values()
        for kind in kinds:
            text = json.dumps(rule).replace(f"${{{variable}}}", kind)
            text = text.replace(json.dumps({"Ref": variable}), json.dumps(kind))
            for field, value in stack["Mappings"][mapping][kind].items():
                looked_up = json.dumps({"FindInMap": [mapping, kind, field]})
                text = text.replace(looked_up, json.dumps(value))
            found[kind] = json.loads(text)["Properties"]
    return found


def test_the_kafka_stack_has_the_rules_of_the_file() -> None:
    found = {}
    for kind, rule in kafka_rules().items():
        payload = rule["TopicRulePayload"]
        text, names = payload["Sql"]["Sub"]
        assert text == "SELECT * FROM '${Filter}'"
        found[kind] = {"filter": names["Filter"]}
        (action,) = (each["Kafka"] for each in payload["Actions"])
        if "Key" in action:
            found[kind]["key"] = action["Key"]
        assert action["Topic"] == {"Ref": "EventsTopic" if "Key" in action else "GlobalTopic"}
        assert action["Headers"] == [{"Key": "topic", "Value": "${topic()}"}]
        assert action["ClientProperties"]["acks"] == "all"
        assert payload["ErrorAction"]["Sqs"]["QueueUrl"] == {"Ref": "ErrorQueue"}
        assert payload["AwsIotSqlVersion"] == "2016-03-23"
        assert substituted(rule["RuleName"], Name="presenced") == f"presenced_{kind}"
    assert found == RULES


def test_the_kafka_stack_gives_workers_what_they_need_in_msk() -> None:
    document = template(KAFKA)["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]
    given = {"Cluster": "CLUSTER", "Group": "presenced", "TopicPrefix": "presenced."}
    assert substituted(document, **given) == MSK_POLICY


def test_the_policy_in_msk_has_what_workers_and_create_topics_need() -> None:
    """By the statements that the remedies of the worker show."""
    kafka = KafkaSettings.model_validate(
        {"security": {"protocol": "SASL_SSL", "mechanism": "AWS_MSK_IAM"}}
    )
    topics = (kafka.topic, kafka.global_topic, kafka.state_topic, kafka.global_state_topic)
    needed = [
        *(topic_permission(kafka, topic, asks_aws=True) for topic in topics),
        *(Permission("topic", topic, ("Create",)) for topic in topics),
        group_permission(kafka),
        transaction_permission(kafka),
    ]
    for permission in needed:
        remedy = denied(kafka, permission, None).remedy
        statement, _ = json.JSONDecoder().raw_decode(remedy, remedy.index("{"))
        resource = statement["Resource"].replace("CLUSTER/*/", "CLUSTER/")
        granted = {
            action
            for each in MSK_POLICY["Statement"]
            if fnmatchcase(resource, each["Resource"])
            for action in each["Action"]
        }
        assert set(statement["Action"]) <= granted, permission


def test_kafka_passwords_are_in_no_template() -> None:
    for rule in kafka_rules().values():
        for action in rule["TopicRulePayload"]["Actions"]:
            properties = action["Kafka"]["ClientProperties"]
            for field in ("username", "password"):
                assert properties[f"sasl.scram.{field}"]["Sub"].startswith("${!get_secret(")


# Terraform


def test_the_terraform_modules_create_the_same() -> None:
    assert set(declared_resources(TERRAFORM / "sqs")) == {
        "aws_sqs_queue.events",
        "aws_sqs_queue.errors",
        "aws_sqs_queue_policy.tls",
        "aws_iam_role.rule",
        "aws_iam_role_policy.rule",
        "aws_iot_topic_rule.this",
        "aws_iam_policy.daemon",
    }
    assert set(declared_resources(TERRAFORM / "kafka")) == {
        "aws_iot_topic_rule_destination.this",
        "aws_sqs_queue.errors",
        "aws_iam_role.rules",
        "aws_iam_role_policy.rules",
        "aws_iot_topic_rule.this",
        "aws_iam_policy.worker",
    }
    assert "redrive_policy" not in (TERRAFORM / "sqs/main.tf").read_text().split("resource", 1)[1]
    main = (TERRAFORM / "kafka/main.tf").read_text()
    allowed = template(KAFKA)["Resources"]["RulesRole"]["Properties"]["Policies"][0]
    for statement in allowed["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            assert f'"{action}"' in main


@pytest.mark.parametrize("module", ["sqs", "kafka"])
def test_terraform_finds_the_modules_well_formed(module: str) -> None:
    done = terraform("fmt", "-check", "-diff", "-no-color", at=TERRAFORM / module)
    assert (done.returncode, done.stdout) == (0, "")


def test_terraform_computes_the_permissions_in_msk(tmp_path: Path) -> None:
    """Its expressions, with what the provider would look up put in by hand."""
    for file in AWS.glob("*.json"):
        shutil.copy(file, tmp_path)
    module = tmp_path / "terraform" / "kafka"
    module.mkdir(parents=True)
    main = (TERRAFORM / "kafka/main.tf").read_text()
    text = main[main.index("locals {") : main.index("# AWS IoT Core reaches")]
    (module / "main.tf").write_text(text.replace("${aws_iam_role.rules.arn}", "ROLE"))
    shutil.copy(TERRAFORM / "kafka/variables.tf", module)
    variables = {
        "msk_cluster_arn": CLUSTER_ARN,
        "group": "g",
        "topic_prefix": "iot-",
        "secret_arn": "SECRET",
        "bootstrap_servers": '["b:9096"]',
        "subnet_ids": "[]",
        "security_group_ids": "[]",
        **dict.fromkeys(("secret_key_arn", "vpc_id"), "x"),
    }

    def value(local: str) -> Any:
        words = [f"-var={name}={value}" for name, value in variables.items()]
        done = terraform("console", *words, at=module, ask=f"jsonencode({local})\n")
        assert done.returncode == 0, done.stderr
        return json.loads(json.loads(done.stdout))

    expected = json.dumps(MSK_POLICY).replace("REGION:ACCOUNT", "eu-west-1:111122223333")
    expected = expected.replace("CLUSTER/presenced.*", "CLUSTER/iot-*")
    expected = expected.replace("CLUSTER", "main/6f3-1")
    for kind in ("group", "transactional-id"):
        expected = expected.replace(f"{kind}/main/6f3-1/presenced", f"{kind}/main/6f3-1/g")
    assert json.loads(value("local.msk_policy")) == json.loads(expected)
    assert value("local.rules") == RULES
    secret = "${get_secret('SECRET', 'SecretString', 'password', 'ROLE')}"
    assert value("local.secret")["password"] == secret
