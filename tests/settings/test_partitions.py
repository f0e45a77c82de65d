"""Hosts of AWS in each partition, with botocore's data as a second opinion."""

import json
from pathlib import Path

import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from presenced.settings import AwsSettings, aws_endpoints
from presenced.settings.partitions import (
    PARTITIONS,
    arn_prefix,
    is_aws,
    partition_of,
    region_of_endpoint,
)

DATA = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())
REGIONS = [
    (partition["id"], region)
    for partition in DATA["partitions"]
    for region in partition["regions"]
    if "global" not in region
]


def addresses_of(endpoint, **aws):
    return aws_endpoints(AwsSettings.model_validate(aws), endpoint)


def test_the_partitions_are_those_of_botocore():
    expected = {
        each["id"]: (each["outputs"]["dnsSuffix"], each["outputs"]["dualStackDnsSuffix"])
        for each in DATA["partitions"]
    }
    assert {each.name: each.domains for each in PARTITIONS} == expected


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_each_region(partition, region):
    domain, dual_stack = partition_of(region).domains
    assert arn_prefix(region) == f"arn:{partition}:iot:{region}"
    for endpoint, control_plane in [
        (f"a1b2c3.iot.{region}.{domain}", f"iot.{region}.{domain}"),
        (f"a1b2c3-ats.iot.{region}.{domain}", f"iot.{region}.{domain}"),
        (f"a1b2c3.ats.iot.{region}.{domain}", f"iot.{region}.{domain}"),
        (f"A1B2C3-ats.iot.{region}.{domain}.".upper(), f"iot.{region}.{domain}"),
        (f"a1b2c3-ats.iot.{region}.{dual_stack}", f"iot.{region}.{dual_stack}"),
        (f"a1b2c3-ats.iot-fips.{region}.{domain}", f"iot-fips.{region}.{domain}"),
        (f"vpce-0a1-b2.data.iot.{region}.vpce.{domain}", f"iot.{region}.{domain}"),
        (f"c1.credentials.iot.{region}.{domain}", f"iot.{region}.{domain}"),
    ]:
        assert region_of_endpoint(endpoint) == region
        assert addresses_of(endpoint).iot_url == f"https://{control_plane}"


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_the_control_plane_is_that_of_botocore(partition, region):
    def ask(service):
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        config = Config(retries={"max_attempts": 0})
        client = Session().create_client(service, region_name=region, config=config, **keys)
        return client.meta.endpoint_url

    try:
        control_plane, data_plane = ask("iot"), ask("iot-data")
    except BotoCoreError:
        pytest.skip(f"botocore knows no AWS IoT in {region} of {partition}")
    host = data_plane.removeprefix("https://")
    assert addresses_of(host).iot_url == control_plane
    assert addresses_of(host).data_url == data_plane
    assert addresses_of("iot.example.com", region=region).iot_url == control_plane
    assert is_aws(host)


@pytest.mark.parametrize(
    "host",
    [
        "iot.example.com",
        "iot.eu-west-1.amazonaws.com",
        "a1-ats.iot.eu-west-1.amazonaws.com.example.com",
        "a1-ats.iot.eu-west-1.amazonaws.org",
        "a1-ats.iot.europe.amazonaws.com",
        "a1-ats.xiot.eu-west-1.amazonaws.com",
        "192.0.2.1",
        "",
    ],
)
def test_other_hosts_name_no_region(host):
    assert region_of_endpoint(host) is None
    assert addresses_of(host, region="eu-west-1").iot_url == "https://iot.eu-west-1.amazonaws.com"


def test_a_domain_of_another_partition_is_not_taken_over():
    """A typing error must not send requests to another partition."""
    url = addresses_of("a1.iot.cn-north-1.amazonaws.com").iot_url
    assert url == "https://iot.cn-north-1.amazonaws.com.cn"


def test_the_server_name_counts_for_requests_and_limits(load):
    """An address or a VPC endpoint stands for it."""
    name = "a1-ats.iot.eu-west-1.amazonaws.com"
    mqtt = f"{{transport: aiomqtt, endpoint: 192.0.2.7, server_name: {name}}}"
    settings = load(f"mqtt: {mqtt}")
    assert settings.region == "eu-west-1"
    assert settings.mqtt.message_rate_limit == 100
    found = aws_endpoints(settings.aws, settings.mqtt_endpoint)
    assert found.data_url == f"https://{name}"


@pytest.mark.parametrize(
    ("mqtt", "key", "message"),
    [
        ("{server_name: a.example}", "server_name", "needs mqtt.transport: aiomqtt"),
        ("{transport: aiomqtt, server_name: ''}", "server_name", "must not be empty"),
        ("{transport: aiomqtt, server_name: 'a:1'}", "server_name", "must be a host name alone"),
        ("{transport: aiomqtt, server_name: a, tls: false}", "server_name", "mqtt.tls: false"),
    ],
)
def test_a_server_name_that_cannot_be_used(load, mqtt, key, message):
    problem = load.problem(f"mqtt: {mqtt}")
    assert problem.key == f"mqtt.{key}"
    assert message in problem.message


def test_aws_needs_a_client_certificate_or_an_authorizer(load):
    mqtt = "endpoint: a1-ats.iot.eu-west-1.amazonaws.com, tls: {cert: null, key: null}"
    problem = load.problem(f"mqtt: {{{mqtt}}}", require_endpoint=True)
    assert problem.key == "mqtt.tls.cert"
    assert "mqtt.auth" in problem.message
    custom = "endpoint: a1-ats.iot.eu-west-1.amazonaws.com, auth: custom, username: u"
    settings = load(f"mqtt: {{{custom}}}", require_endpoint=True)
    assert settings.mqtt.port == 443
    assert settings.mqtt.tls.cert is None
    assert load(f"mqtt: {{{custom}, port: 8883, tls: {{ca: x.pem}}}}").mqtt.port == 8883
    queue = "sqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'}"
    load(f"source: sqs\n{queue}\nmqtt: {{{mqtt}}}", require_endpoint=True)
