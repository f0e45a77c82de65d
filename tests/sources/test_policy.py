"""Policy statements for AWS IoT."""

import json
from pathlib import Path

import pytest

from presenced.settings.partitions import PARTITIONS
from presenced.sources.mqtt.faults import connect_remedy, policy_statement, subscribe_remedy

ENDPOINT = "abc-ats.iot.eu-west-1.amazonaws.com"


def test_subscribe_is_on_topicfilter_and_receive_on_topic():
    assert policy_statement("Subscribe", "$aws/events/#", ENDPOINT) == {
        "Effect": "Allow",
        "Action": "iot:Subscribe",
        "Resource": "arn:aws:iot:eu-west-1:ACCOUNT:topicfilter/$aws/events/*",
    }
    assert policy_statement("Receive", "$aws/events/#", ENDPOINT) == {
        "Effect": "Allow",
        "Action": "iot:Receive",
        "Resource": "arn:aws:iot:eu-west-1:ACCOUNT:topic/$aws/events/*",
    }


def test_wildcards_of_mqtt_become_the_one_of_policies():
    statement = policy_statement("Subscribe", "$aws/events/presence/+/x/#", ENDPOINT)
    assert statement["Resource"].endswith(":topicfilter/$aws/events/presence/*/x/*")


@pytest.mark.parametrize(
    ("endpoint", "arn"),
    [
        (ENDPOINT, "arn:aws:iot:eu-west-1"),
        ("abc-ats.iot.us-gov-west-1.amazonaws.com", "arn:aws-us-gov:iot:us-gov-west-1"),
        ("ABC-ats.iot.US-GOV-West-1.amazonaws.com.", "arn:aws-us-gov:iot:us-gov-west-1"),
        ("data.iot-fips.us-gov-east-1.amazonaws.com", "arn:aws-us-gov:iot:us-gov-east-1"),
        ("abc.ats.iot.cn-north-1.amazonaws.com.cn", "arn:aws-cn:iot:cn-north-1"),
        ("abc-ats.iot.eusc-de-east-1.amazonaws.eu", "arn:aws-eusc:iot:eusc-de-east-1"),
        ("abc-ats.iot.us-iso-east-1.c2s.ic.gov", "arn:aws-iso:iot:us-iso-east-1"),
        ("abc-ats.iot.us-isob-east-1.sc2s.sgov.gov", "arn:aws-iso-b:iot:us-isob-east-1"),
        ("abc-ats.iot.eu-isoe-west-1.cloud.adc-e.uk", "arn:aws-iso-e:iot:eu-isoe-west-1"),
        ("abc-ats.iot.us-isof-south-1.csp.hci.ic.gov", "arn:aws-iso-f:iot:us-isof-south-1"),
        ("abc-ats.iot.eu-west-1.api.aws", "arn:aws:iot:eu-west-1"),
        ("vpce-1.data.iot.us-gov-west-1.vpce.amazonaws.com", "arn:aws-us-gov:iot:us-gov-west-1"),
    ],
)
def test_arns_are_those_of_the_partition(endpoint, arn):
    statement = policy_statement("Connect", "d", endpoint)
    assert statement["Resource"] == f"{arn}:ACCOUNT:client/d"


def test_the_page_on_policies_names_every_partition():
    page = Path(__file__).parents[2] / "docs/how-to/connect-to-aws.md"
    assert not [each.name for each in PARTITIONS if f"arn:{each.name}:" not in page.read_text()]


def test_a_custom_domain_or_another_broker_has_no_region():
    other = policy_statement("Connect", "d", "broker.example")
    assert other["Resource"] == "arn:aws:iot:REGION:ACCOUNT:client/d"


def test_remedies_hold_the_statements_as_json():
    text = connect_remedy("presenced", ENDPOINT)
    assert json.loads(text[text.index("{") :]) == policy_statement("Connect", "presenced", ENDPOINT)
    for action in ("Subscribe", "Receive"):
        statement = json.dumps(policy_statement(action, "a/#", ENDPOINT))
        assert statement in subscribe_remedy("a/#", ENDPOINT)
