"""Policy statements for AWS IoT."""

import json

from presenced.sources.faults import connect_remedy, policy_statement, subscribe_remedy

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


def test_partitions_and_other_brokers():
    china = policy_statement("Connect", "d", "abc.ats.iot.cn-north-1.amazonaws.com.cn")
    assert china["Resource"] == "arn:aws-cn:iot:cn-north-1:ACCOUNT:client/d"
    government = policy_statement("Connect", "d", "a-ats.iot.us-gov-west-1.amazonaws.com")
    assert government["Resource"] == "arn:aws-us-gov:iot:us-gov-west-1:ACCOUNT:client/d"
    other = policy_statement("Connect", "d", "broker.example")
    assert other["Resource"] == "arn:aws:iot:REGION:ACCOUNT:client/d"


def test_remedies_hold_the_statements_as_json():
    text = connect_remedy("presenced", ENDPOINT)
    assert json.loads(text[text.index("{") :]) == policy_statement("Connect", "presenced", ENDPOINT)
    for action in ("Subscribe", "Receive"):
        statement = json.dumps(policy_statement(action, "a/#", ENDPOINT))
        assert statement in subscribe_remedy("a/#", ENDPOINT)
