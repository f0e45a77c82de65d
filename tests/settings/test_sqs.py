"""The section `sqs`, and what `source: sqs` needs of the others."""

import pytest

QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/presenced"


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("queue_url: presenced", "queue_url", "is not the URL of a queue, such as https://sqs."),
        ("queue_url: ''", "queue_url", "is not the URL of a queue"),
        ("queue_url: 'https://h:http/111122223333/q'", "queue_url", "is not the URL of a queue"),
        (f"queue_url: '{QUEUE.replace('https', 'http')}'", "queue_url", "must begin with https://"),
        ("queue_url: 'ftp://localhost/111122223333/q'", "queue_url", "must begin with https://"),
        (f"queue_url: '{QUEUE}.fifo'", "queue_url", "is a FIFO queue, to which IoT rules cannot"),
        (f"queue_url: '{QUEUE}/'", "queue_url", "must end with the account and the name"),
        (f"queue_url: '{QUEUE}?a=b'", "queue_url", "must end with the account and the name"),
        ("queue_url: 'https://sqs.eu-west-1.amazonaws.com'", "queue_url", "must end with the acc"),
        (
            "queue_url: 'arn:aws-cn:sqs:cn-north-1:111122223333:q'",
            "queue_url",
            "did you mean https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q?",
        ),
        ("queue_url: 'arn:aws:sqs:eu:111122223333:q'", "queue_url", "not its ARN"),
        ("receivers: 33", "receivers", "must be at most 32"),
        ("receivers: 0", "receivers", "must be at least 1"),
        ("queue: q", "queue", "unknown key; did you mean sqs.queue_url?"),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problem(f"sqs: {{{keys}}}")
    assert problem.key == f"sqs.{key}"
    assert message in str(problem)


def test_a_password_in_the_url_is_not_shown(load):
    problem = load.problem("sqs: {queue_url: 'https://u:hunter2@h/111122223333/q'}")
    assert problem.key == "sqs.queue_url"
    assert "hunter2" not in str(problem)


def test_a_queue_must_be_named_to_receive(load):
    problem = load.problem("source: sqs", require_endpoint=True)
    assert problem.key == "sqs.queue_url"
    assert "`aws sqs get-queue-url --queue-name NAME` prints" in problem.message
    load("source: sqs")


@pytest.mark.parametrize("mqtt", ["", "mqtt:\n", "mqtt: {}\n"])
def test_the_broker_may_be_absent(load, mqtt):
    settings = load(f"{mqtt}source: sqs\nsqs: {{queue_url: '{QUEUE}'}}", require_endpoint=True)
    assert settings.mqtt is settings.mqtt_source is settings.tls_files is None
    assert settings.mqtt_endpoint == ""
    assert settings.transport == "sqs"


def test_the_files_of_a_broker_are_used_only_with_a_role_alias(load):
    """The systemd unit names these files by variables, whether they exist or not."""
    text = f"source: sqs\nsqs: {{queue_url: '{QUEUE}'}}\n"
    environ = {"PRESENCED_MQTT__TLS__CERT": "/c", "PRESENCED_MQTT__TLS__KEY": "/k"}
    assert load(text, environ, require_endpoint=True).tls_files is None
    role = "aws: {role_alias: a, thing_name: t, credentials_endpoint: c.example.com}"
    assert str(load(text + role, environ, require_endpoint=True).tls_files.cert) == "/c"


def test_the_placeholder_of_the_example_is_no_endpoint_here_either(load):
    endpoint = "xxxxxxxxxxxxxx-ats.iot.eu-west-1.amazonaws.com"
    text = f"source: sqs\nmqtt: {{endpoint: {endpoint}}}\nsqs: {{queue_url: '{QUEUE}'}}"
    assert load.problem(text, require_endpoint=True).key == "mqtt.endpoint"


def test_a_role_alias_needs_the_certificate_of_an_absent_section(load):
    text = f"source: sqs\nsqs: {{queue_url: '{QUEUE}'}}\n"
    role = "aws: {role_alias: a, thing_name: t, credentials_endpoint: c.example.com}"
    problem = load.problem(text + role)
    assert problem.key == "aws.role_alias"
    assert "set mqtt.tls.cert and mqtt.tls.key" in problem.message


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("SQS.eu-west-1.amazonaws.com:443", "eu-west-1"),
        ("sqs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("sqs.eu-west-1.api.aws", "eu-west-1"),
        ("vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
    ],
)
def test_the_queue_names_its_region(load, host, region):
    text = f"source: sqs\nsqs: {{queue_url: 'https://{host}/111122223333/q'}}\n"
    settings = load(text)
    assert settings.queue_region == settings.region == region
    elsewhere = load(text + "aws: {region: us-east-1}")
    assert (elsewhere.queue_region, elsewhere.region) == (region, "us-east-1")


def test_a_region_must_be_set_if_nothing_names_it(load):
    text = "source: sqs\nsqs: {queue_url: 'http://127.0.0.1:4566/000000000000/q'}\n"
    problem = load.problem(text)
    assert problem.key == "aws.region"
    assert "neither mqtt.endpoint nor sqs.queue_url names a region" in problem.message
    assert load(f"{text}aws: {{region: us-east-1}}").queue_region == "us-east-1"
    endpoint = "a1b2-ats.iot.eu-west-1.amazonaws.com"
    assert load(f"{text}mqtt: {{endpoint: {endpoint}}}").queue_region == "eu-west-1"


def test_lookups_need_the_address_of_the_data_plane(load):
    text = f"source: sqs\nsqs: {{queue_url: '{QUEUE}'}}\nreconcile: {{enabled: true}}\n"
    problem = load.problem(text)
    assert problem.key == "aws.data_url"
    assert "`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints" in problem.message
    load(f"{text}aws: {{data_url: 'https://data.example.com'}}")
    load(f"{text}mqtt: {{endpoint: a1b2-ats.iot.eu-west-1.amazonaws.com}}")


def test_the_state_file_is_used(load):
    assert load(f"source: sqs\nsqs: {{queue_url: '{QUEUE}'}}\nstate: {{path: /s.db}}").state.path
