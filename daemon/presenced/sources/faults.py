"""What can go wrong with a connection, in words that people understand.

The AWS IoT policy statements that let a connection do what it must.

Why messages come at QoS 0 though QoS 1 was asked for, in words that people understand.

The QoS of a message is the lower of that at which it was published and that which the broker
granted (MQTT 5 section 3.8.4). A session keeps messages of QoS 1 only (section 4.1).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class FaultReason(StrEnum):
    """Why a connection was refused or lost: the label values of the failures metric."""

    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    TLS_SERVER_CERTIFICATE = "tls_server_certificate"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_FILES = "tls_files"
    TLS = "tls"
    CONNECT_REFUSED = "connect_refused"
    NOT_AUTHORIZED = "not_authorized"
    TAKEN_OVER = "taken_over"
    KEEP_ALIVE_TIMEOUT = "keep_alive_timeout"
    SERVER_DISCONNECT = "server_disconnect"
    DROPPED_AFTER_SUBSCRIBE = "dropped_after_subscribe"
    CONNECTION_LOST = "connection_lost"
    FILTER_REFUSED = "filter_refused"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong: what happened, to what, and what to do about it.

    `said` is what the broker itself said about it, where it said something. It may differ from
    one time to the next, so it is no part of what makes two faults equal.
    """

    reason: FaultReason
    detail: str
    remedy: str = ""
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        said = f' (the broker said: "{self.said}")' if self.said else ""
        return f"{self.detail}{said}. {self.remedy}" if self.remedy else f"{self.detail}{said}"


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


_MEANS = "nothing of it is kept while presenced is away, and each outage is a gap"


class Shortfall(NamedTuple):
    """What is worse than was asked for, and what to do about it."""

    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.detail}. {self.remedy}"


def granted_qos_0(topic_filter: str) -> Shortfall:
    """The broker granted a filter, but at QoS 0 only."""
    return Shortfall(
        f"the broker granted {topic_filter} at QoS 0 only, though mqtt.qos is 1: {_MEANS}",
        "Have the broker grant QoS 1; its configuration limits it (mosquitto: max_qos)",
    )


def published_at_qos_0(topic_filter: str) -> Shortfall:
    """The broker granted a filter at QoS 1, and its messages come at QoS 0."""
    return Shortfall(
        f"events on {topic_filter} come at QoS 0, though the broker granted QoS 1: {_MEANS}",
        "Have them published at QoS 1, where that is in your hands; AWS IoT Core does not say at"
        " which QoS it publishes",
    )
