"""The sections `aws` and `reconcile`: what they accept, and the addresses they lead to."""

import pytest

from presenced.settings import AwsEndpoints, AwsSettings, SettingsError, aws_endpoints
from presenced.settings.partitions import arn_prefix

ENDPOINT = "a1b2-ats.iot.eu-west-1.amazonaws.com"
ROLE = "role_alias: presenced, credentials_endpoint: c1.credentials.iot.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("region: EU-West-1", "region", "is not a region of AWS, such as eu-west-1; did you mean"),
        ("region: ireland", "region", "is not a region of AWS"),
        ("region: 5", "region", "must be text"),
        ("role_alias: a b", "role_alias", "is not a role alias"),
        (
            "role_alias: 'arn:aws:iot:eu-west-1:111122223333:rolealias/presenced'",
            "role_alias",
            "must be the name of a role alias, not an ARN; did you mean presenced?",
        ),
        ("credentials_endpoint: c", "credentials_endpoint", "has no effect without aws.role_alias"),
        ("thing_name: t", "thing_name", "has no effect without aws.role_alias"),
        ("role_alias: a, thing_name: t", "credentials_endpoint", "is needed with aws.role_alias"),
        ("role_alias: a, credentials_endpoint: c", "thing_name", "is needed with aws.role_alias"),
        (f"{ROLE}, thing_name: a b", "thing_name", "is not a thing name of AWS IoT"),
        (
            "role_alias: a, thing_name: t, credentials_endpoint: 'https://c/'",
            "credentials_endpoint",
            "must be a host name alone",
        ),
        (
            "role_alias: a, thing_name: t, credentials_endpoint: 'c:8443'",
            "credentials_endpoint",
            "only localhost may have a port",
        ),
        (
            "role_alias: a, thing_name: t, credentials_endpoint: 'localhost:84430'",
            "credentials_endpoint",
            "must be a host name alone",
        ),
        ("iot_url: iot.example.com", "iot_url", "must be https://HOST or https://HOST:PORT"),
        ("iot_url: 'https://h/path'", "iot_url", "without a path"),
        ("iot_url: 'https://h?a=b'", "iot_url", "without a path"),
        ("iot_url: 'https://h:http'", "iot_url", "must be https://HOST"),
        ("data_url: 'https://'", "data_url", "must be https://HOST"),
        ("data_url: 'http://iot.example.com'", "data_url", "requests carry a session token"),
        ("data_url: 'http://localhost.example.com'", "data_url", "must begin with https://"),
        ("data_url: 'ftp://localhost'", "data_url", "must begin with https://"),
        ("regoin: eu-west-1", "regoin", "did you mean aws.region?"),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problem(f"aws: {{{keys}}}")
    assert problem.key == f"aws.{key}"
    assert message in str(problem)


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("enabled: 'yes'", "enabled", "must be true or false"),
        ("snapshot_every: 6", "snapshot_every", "has no unit"),
        ("searches_per_second: 0", "searches_per_second", "must be more than 0"),
        ("searches_per_second: -1", "searches_per_second", "must be more than 0"),
        ("lookups_per_second: '50'", "lookups_per_second", "must be a number"),
        ("lookups_per_second: 1e999", "lookups_per_second", "must be a number"),
        ("lookups_per_second:", "lookups_per_second", "must be a number"),
        ("verify_offline: allways", "verify_offline", "did you mean always?"),
        ("seed_registry: 1", "seed_registry", "must be true or false"),
    ],
)
def test_bad_values_of_reconcile_are_explained(load, keys, key, message):
    problem = load.problem(f"reconcile: {{{keys}}}")
    assert problem.key == f"reconcile.{key}"
    assert message in str(problem)


@pytest.mark.parametrize("tls", ["false", "{cert: null, key: null}"])
def test_a_role_alias_needs_a_client_certificate(load, tls):
    text = f"mqtt: {{tls: {tls}}}\naws:\n  {ROLE.replace(', ', chr(10) + '  ')}\n  thing_name: t\n"
    problem = load.problem(text)
    assert problem.key == "aws.role_alias"
    assert problem.origin == f"{load.path}:3"
    assert "set mqtt.tls.cert and mqtt.tls.key" in problem.message


@pytest.mark.parametrize("endpoint", ["iot.example.com", "127.0.0.1", "iot.x.amazonaws.com"])
def test_a_region_is_needed_only_to_ask(load, endpoint):
    mqtt = f"mqtt: {{endpoint: {endpoint}}}\n"
    load(mqtt)
    load(f"{mqtt}aws: {{region: eu-west-1}}\nreconcile: {{enabled: true}}")
    problem = load.problem(f"{mqtt}reconcile: {{enabled: true}}")
    assert problem.key == "aws.region"
    assert "set it to the region of the account" in problem.message
    with pytest.raises(SettingsError, match=r"aws\.region: is not set"):
        aws_endpoints(AwsSettings(), endpoint)


def test_a_missing_endpoint_is_one_problem(load):
    text = "reconcile: {enabled: true}"
    assert load.problem(text, require_endpoint=True).key == "mqtt.endpoint"


@pytest.mark.parametrize(
    ("endpoint", "region", "partition", "iot_url"),
    [
        (ENDPOINT, "eu-west-1", "aws", "https://iot.eu-west-1.amazonaws.com"),
        (ENDPOINT.upper() + ".", "eu-west-1", "aws", "https://iot.eu-west-1.amazonaws.com"),
        (
            "a1b2.ats.iot.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            "aws-cn",
            "https://iot.cn-north-1.amazonaws.com.cn",
        ),
        (
            "a1b2-ats.iot.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
            "aws-us-gov",
            "https://iot.us-gov-west-1.amazonaws.com",
        ),
        (
            "data.iot-fips.ca-central-1.amazonaws.com",
            "ca-central-1",
            "aws",
            "https://iot-fips.ca-central-1.amazonaws.com",
        ),
        (
            "vpce-0a1b-2c3d.data.iot.eu-west-1.vpce.amazonaws.com",
            "eu-west-1",
            "aws",
            "https://iot.eu-west-1.amazonaws.com",
        ),
        (
            "a1b2-ats.iot.eusc-de-east-1.amazonaws.eu",
            "eusc-de-east-1",
            "aws-eusc",
            "https://iot.eusc-de-east-1.amazonaws.eu",
        ),
        (
            "a1b2-ats.iot.us-isob-east-1.sc2s.sgov.gov",
            "us-isob-east-1",
            "aws-iso-b",
            "https://iot.us-isob-east-1.sc2s.sgov.gov",
        ),
        (
            "a1b2-ats.iot.cn-north-1.api.amazonwebservices.com.cn",
            "cn-north-1",
            "aws-cn",
            "https://iot.cn-north-1.api.amazonwebservices.com.cn",
        ),
    ],
)
def test_the_endpoint_names_the_region(endpoint, region, partition, iot_url):
    found = aws_endpoints(AwsSettings(), endpoint)
    assert found == AwsEndpoints(region, iot_url, f"https://{endpoint}")
    assert arn_prefix(found.region) == f"arn:{partition}:iot:{region}"


def test_what_is_set_wins_over_the_endpoint(load):
    text = f"""\
        mqtt: {{endpoint: {ENDPOINT}}}
        aws:
          region: us-east-1
          role_alias: a=b
          credentials_endpoint: "[::1]:8443"
          thing_name: presenced
          iot_url: https://vpce.example.com/
          data_url: http://LOCALHOST:8080
        """
    settings = load(text)
    assert aws_endpoints(settings.aws, settings.mqtt.endpoint) == AwsEndpoints(
        region="us-east-1",
        iot_url="https://vpce.example.com",
        data_url="http://LOCALHOST:8080",
        credentials_url="https://[::1]:8443/role-aliases/a%3Db/credentials",
    )


def test_an_ipv6_address_is_in_brackets():
    found = aws_endpoints(AwsSettings(region="eu-west-1"), "2001:db8::1")
    assert found.data_url == "https://[2001:db8::1]"


@pytest.mark.parametrize("key", ["iot_url", "data_url", "credentials_endpoint"])
def test_a_password_in_an_address_is_not_shown(load, key):
    for problem in load.problems(f"aws: {{{key}: 'https://u:hunter2@h'}}"):
        assert "hunter2" not in str(problem)


def test_a_rate_may_be_a_fraction(load):
    text = "reconcile: {searches_per_second: 0.5, lookups_per_second: 350}"
    settings = load(text, {"PRESENCED_RECONCILE__SEARCHES_PER_SECOND": "2"})
    assert settings.reconcile.searches_per_second == 2
    assert settings.reconcile.lookups_per_second == 350
