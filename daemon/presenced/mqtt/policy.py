"""The AWS IoT policy statements that let a connection do what it must."""

import json
import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "connect_remedy",
    "connect_statement",
    "daemon_policy",
    "receive_remedy",
    "subscribe_remedy",
    "subscribe_statements",
]

_ENDPOINT = re.compile(r"\.iot\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?P<china>\.cn)?$")


def subscribe_statements(topic_filter: str, endpoint: str) -> list[dict[str, str]]:
    """Statements that allow a subscription and the messages that come of it.

    `iot:Subscribe` is granted on `topicfilter/`, `iot:Receive` on `topic/`; a missing
    `iot:Receive` fails without a word. In policies `*` is the wildcard and `#` and `+` are
    literal characters ("AWS IoT Core policy resources" in the AWS IoT developer guide).
    """
    resource = topic_filter.replace("#", "*").replace("+", "*")
    prefix = _arn_prefix(endpoint)
    return [
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": f"{prefix}topicfilter/{resource}",
        },
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": f"{prefix}topic/{resource}"},
    ]


def subscribe_remedy(topic_filter: str, endpoint: str) -> str:
    """A sentence for people that holds the statements."""
    statements = " and ".join(json.dumps(s) for s in subscribe_statements(topic_filter, endpoint))
    return f"On AWS, add to the policy of the client certificate: {statements}"


def receive_remedy(filters: Sequence[str], endpoint: str) -> str:
    """A sentence for people whose filters are granted and bring nothing."""
    statements = " and ".join(json.dumps(subscribe_statements(f, endpoint)[1]) for f in filters)
    return (
        "AWS grants a subscription and then delivers nothing of it where the policy of the client"
        f" certificate lacks iot:Receive: see that it holds {statements}"
    )


def connect_statement(client_id: str, endpoint: str) -> dict[str, str]:
    """The statement that allows a connection under this client ID.

    `iot:Connect` is granted on `client/` ("AWS IoT Core policy resources" in the AWS IoT
    developer guide).
    """
    resource = f"{_arn_prefix(endpoint)}client/{client_id}"
    return {"Effect": "Allow", "Action": "iot:Connect", "Resource": resource}


def connect_remedy(client_id: str, endpoint: str) -> str:
    """A sentence for people that holds the statement."""
    statement = json.dumps(connect_statement(client_id, endpoint))
    return f"On AWS, add to the policy of the client certificate: {statement}"


def daemon_policy(client_id: str, filters: Sequence[str], endpoint: str = "") -> dict[str, Any]:
    """The least that a daemon with this client ID and these filters needs, as a whole document.

    Its other connections, and those of commands beside it, append `-` and more to the client ID.
    """
    connect = connect_statement(client_id, endpoint)
    more = connect_statement(f"{client_id}-*", endpoint)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {**connect, "Resource": [connect["Resource"], more["Resource"]]},
            *(s for f in filters for s in subscribe_statements(f, endpoint)),
        ],
    }


def _arn_prefix(endpoint: str) -> str:
    match = _ENDPOINT.search(endpoint)
    if match is None:
        return "arn:aws:iot:REGION:ACCOUNT:"
    partition = "aws-cn" if match["china"] else "aws"
    return f"arn:{partition}:iot:{match['region']}:ACCOUNT:"
