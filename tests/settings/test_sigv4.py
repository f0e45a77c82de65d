"""`mqtt.auth: sigv4`: other defaults, and what does not go with it."""

import pytest

AWS = "x-ats.iot.eu-west-1.amazonaws.com"
CUSTOM = "iot.example.com"
NO_LOGIN = "has no effect with mqtt.auth: sigv4, which identifies presenced by its signature"


def text(endpoint=AWS, more="", rest=""):
    return f"mqtt: {{auth: sigv4, endpoint: {endpoint}{more}}}\n{rest}"


def test_no_file_is_needed(load):
    mqtt = load(text()).mqtt
    assert (mqtt.port, mqtt.tls.cert, mqtt.tls.key, mqtt.tls.ca) == (443, None, None, None)
    assert mqtt.tls.refresh == 300


def test_an_authority_and_a_port_may_be_set(load, tmp_path):
    mqtt = load(text(CUSTOM, ", port: 8443, tls: {ca: ca.pem}", "aws: {region: eu-west-1}")).mqtt
    assert (mqtt.port, mqtt.tls.cert, mqtt.tls.ca) == (8443, None, tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("endpoint", "region", "signed"),
    [
        (AWS, None, "eu-west-1"),
        # Of the account, for other requests; the endpoint is right about itself.
        (AWS, "us-east-1", "eu-west-1"),
        (CUSTOM, "us-east-1", "us-east-1"),
        ("x.cn-north-1.iot.cn-north-1.vpce.amazonaws.com.cn", None, "cn-north-1"),
    ],
)
def test_the_region_is_that_of_the_endpoint(load, endpoint, region, signed):
    rest = f"aws: {{region: {region}}}" if region else ""
    assert load(text(endpoint, rest=rest)).signing_region == signed


def test_only_sigv4_signs(load):
    assert load(f"mqtt: {{endpoint: {AWS}}}").signing_region is None
    sqs = (
        "source: sqs\n"
        + text()
        + "sqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'}"
    )
    assert load(sqs).signing_region is None


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        (text(more=", transport: aiomqtt"), "mqtt.auth", "needs mqtt.transport: awscrt"),
        (text(more=", port: 8883"), "mqtt.port", "must be 443 with mqtt.auth: sigv4"),
        (text(more=", tls: false"), "mqtt.tls", "must be a mapping"),
        (text(more=", tls: {cert: c, key: k}"), "mqtt.tls.cert", "uses no client certificate"),
        (text(CUSTOM), "aws.region", "set it to the region of the account"),
        (
            text(
                rest="aws: {role_alias: a, thing_name: t,"
                " credentials_endpoint: x.credentials.iot.eu-west-1.amazonaws.com}"
            ),
            "aws.role_alias",
            "which mqtt.auth: sigv4 does not use: remove it",
        ),
        (text(more=", username: u"), "mqtt.username", NO_LOGIN),
        (text(CUSTOM, ", username: u", "aws: {region: eu-west-1}"), "mqtt.username", NO_LOGIN),
        (text(more=", password: p"), "mqtt.password", NO_LOGIN),
        (text(more=", password_file: p"), "mqtt.password_file", NO_LOGIN),
        ("mqtt: {auth: sigv}", "mqtt.auth", "did you mean sigv4?"),
    ],
)
def test_what_does_not_go_with_it_is_explained(load, config, key, message):
    problem = load.problem(config)
    assert problem.key == key
    assert message in str(problem)
