"""The section `kafka`, and what `source: kafka` needs of the others."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.settings import KafkaSettings, SettingsError, load_settings, read_kafka_password

KAFKA = "source: kafka\nkafka:\n  bootstrap_servers: ['kafka-1.example.com:9093']\n"
MSK = "b-1.fleet.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098"
PLAIN = "protocol: SASL_SSL, mechanism: PLAIN"


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("bootstrap_servers: 'a, b:2'", "bootstrap_servers", 'did you mean ["a:9092", "b:2"]?'),
        ("bootstrap_servers: 'a:1, b:2'", "bootstrap_servers", 'did you mean ["a:1", "b:2"]?'),
        ("bootstrap_servers: a:1", "bootstrap_servers", "must be a list of HOST:PORT"),
        ("bootstrap_servers: [a]", "bootstrap_servers[0]", "did you mean a:9092?"),
        ("bootstrap_servers: ['a:0']", "bootstrap_servers[0]", "must be HOST:PORT"),
        ("bootstrap_servers: ['a:65536']", "bootstrap_servers[0]", "must be HOST:PORT"),
        ("bootstrap_servers: [':9092']", "bootstrap_servers[0]", "must be HOST:PORT"),
        ("bootstrap_servers: ['SSL://a:9093/']", "bootstrap_servers[0]", "did you mean a:9093?"),
        ("bootstrap_servers: ['u:pw@a:9093']", "bootstrap_servers[0]", '"***@a:9093"'),
        ("topic: ''", "topic", "is not a name that Kafka accepts"),
        ("topic: ..", "topic", "is not a name that Kafka accepts"),
        ("topic: $aws/events", "topic", "did you mean aws-events?"),
        (f"topic: {'a' * 250}", "topic", "1 to 249 of"),
        ("state_topic: presenced.events", "state_topic", "must differ from kafka.topic"),
        ("global_topic: presenced_events", "global_topic", "by more than . and _"),
        ("global_state_topic: presenced.global", "global_state_topic", "kafka.global_topic"),
        ("group: ''", "group", "must not be empty"),
        ("instance_id: a b", "instance_id", "did you mean a-b?"),
        ("lease: 2999ms", "lease", "must be from 3s to 10m"),
        ("lease: 20", "lease", "has no unit"),
        ("security: {protocol: ssl}", "security.protocol", "did you mean SSL?"),
        ("security: {protocol: SASL_PLAINTEXT}", "security.protocol", "must be PLAINTEXT, SSL or"),
        ("security: {protocol: PLAINTEXT, ca: c}", "security.ca", "has no effect with kafka."),
        ("security: {cert: c}", "security.key", "must be null exactly when kafka.security.cert is"),
        ("security: {key: k}", "security.key", "now kafka.security.cert is null"),
        ("security: {mechanism: PLAIN, username: u, password_file: p}", "security.mechanism", ""),
        ("security: {username: u}", "security.username", "without kafka.security.mechanism"),
        ("security: {password_file: p}", "security.password_file", "has no effect without kafka."),
        ("security: {password: p}", "security.password", "mean kafka.security.password_file?"),
        (f"security: {{{PLAIN}, username: u}}", "security.password_file", "is needed with kafka."),
        (f"security: {{{PLAIN}, password_file: p}}", "security.username", "mechanism: PLAIN"),
        (f"security: {{{PLAIN}, username: '', password_file: p}}", "security.username", "empty"),
        (
            "security: {protocol: SASL_SSL, mechanism: scram-sha-512}",
            "security.mechanism",
            "did you mean SCRAM-SHA-512?",
        ),
        (
            "security: {protocol: SASL_SSL, mechanism: AWS_MSK_IAM, username: u}",
            "security.username",
            "which uses the credentials of AWS",
        ),
        (
            "security: {protocol: SASL_SSL, mechanism: AWS_MSK_IAM, password_file: p}",
            "security.password_file",
            "which uses the credentials of AWS",
        ),
        ("security: {protocol: SASL_SSL}", "security.mechanism", "is needed with kafka.security."),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problem(f"kafka:\n  {keys}\n")
    assert problem.key == f"kafka.{key}"
    assert message in str(problem)
    assert "pw@" not in str(problem)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords_are_read_from_a_file(load, tmp_path, mechanism):
    (tmp_path / "password").write_bytes(b"hunter2\n")
    account = f"mechanism: {mechanism}, username: u, password_file: password"
    security = load(f"{KAFKA}  security: {{protocol: SASL_SSL, {account}}}").kafka.security
    assert read_kafka_password(security) == "hunter2"
    assert "hunter2" not in repr(security)


def test_without_a_password_file_there_is_no_password(load):
    assert read_kafka_password(load(KAFKA).kafka.security) is None


@pytest.mark.parametrize(("content", "kind"), [(None, "missing"), (b"\n", "malformed")])
def test_bad_password_files_are_named(load, tmp_path, content, kind):
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    account = "username: u, password_file: password"
    security = load(f"{KAFKA}  security: {{{PLAIN}, {account}}}").kafka.security
    with pytest.raises(SettingsError, match=r"kafka\.security\.password_file") as caught:
        read_kafka_password(security)
    assert caught.value.problems[0].kind == kind


def test_a_client_certificate_may_come_with_a_password(load):
    security = f"security: {{{PLAIN}, username: u, password_file: p, cert: c, key: k, ca: a}}"
    assert load(f"{KAFKA}  {security}").kafka.security.cert.name == "c"


def test_brokers_must_be_named_to_receive(load):
    problem = load.problem("source: kafka", require_endpoint=True)
    assert problem.key == "kafka.bootstrap_servers"
    assert "set it to some brokers of the cluster" in problem.message
    load("source: kafka")


def test_the_broker_of_mqtt_may_be_absent(load):
    settings = load(KAFKA, require_endpoint=True)
    assert settings.mqtt is None
    assert settings.transport == "kafka"


def test_a_state_file_has_no_effect(load):
    problem = load.problem(f"{KAFKA}state: {{path: /s.db}}")
    assert problem.key == "state.path"
    assert problem.origin == f"{load.path}:4"
    assert "which keeps the state in kafka.state_topic: remove it" in problem.message


def test_brokers_of_msk_name_the_region_that_iam_needs(load):
    iam = "  security: {protocol: SASL_SSL, mechanism: AWS_MSK_IAM}\n"
    problem = load.problem(KAFKA + iam)
    assert problem.key == "aws.region"
    assert "set it to the region of the cluster" in problem.message
    assert load(f"{KAFKA}{iam}aws: {{region: us-east-1}}").brokers_region == "us-east-1"
    msk = KAFKA.replace("kafka-1.example.com:9093", MSK)
    assert load(f"{msk}{iam}aws: {{region: us-east-1}}").brokers_region == "eu-west-1"
    assert load(msk + iam).brokers_region == "eu-west-1"


def test_asking_aws_needs_a_region_and_an_address(load):
    enabled = "reconcile: {enabled: true}\n"
    assert load.problem(KAFKA + enabled).key == "aws.region"
    assert load.problem(f"{KAFKA}aws: {{region: eu-west-1}}\n{enabled}").key == "aws.data_url"
    url = "https://a1b2-ats.iot.eu-west-1.amazonaws.com"
    settings = load(f"{KAFKA}aws: {{region: eu-west-1, data_url: '{url}'}}\n{enabled}")
    assert settings.reconcile.enabled


def test_other_sources_need_nothing_of_this_section(load):
    assert load(require_endpoint=False).kafka == KafkaSettings()


def keys_with_problems(**keys):
    try:
        load_settings(None, environ=keys, require_endpoint=False)
    except SettingsError as error:
        return [problem.key for problem in error.problems]
    return []


@given(st.text(max_size=300) | st.text("a._- ", max_size=4))
def test_topics_are_names_that_kafka_accepts(text):
    accepted = re.fullmatch("[a-zA-Z0-9._-]{1,249}", text) and text not in (".", "..")
    expected = [] if accepted else ["kafka.topic"]
    assert keys_with_problems(PRESENCED_KAFKA__TOPIC=text) == expected


@given(st.text(max_size=80) | st.text("a1:.[]", max_size=8))
def test_brokers_have_a_host_and_a_port(text):
    variable = {"PRESENCED_KAFKA__BOOTSTRAP_SERVERS": json.dumps([text])}
    if not keys_with_problems(**variable):
        host, _, port = text.rpartition(":")
        assert host
        assert 0 < int(port) < 65536
