"""What can go wrong with a connection, and what to do about it.

Remedies for AWS IoT Core contain the policy statements that are missing ("AWS IoT Core policy
resources" in the AWS IoT developer guide).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from presenced.settings.partitions import arn_prefix, is_aws, region_of_endpoint
from presenced.sources.faults import SourceFault


class FaultReason(StrEnum):
    """Why a connection was refused or lost: the label values of the failures metric."""

    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    PROXY_UNREACHABLE = "proxy_unreachable"
    PROXY_AUTHENTICATION = "proxy_authentication"
    PROXY_REFUSED = "proxy_refused"
    TLS_SERVER_CERTIFICATE = "tls_server_certificate"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_FILES = "tls_files"
    TLS = "tls"
    CREDENTIALS = "credentials"
    NO_ANSWER = "no_answer"
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
class Fault(SourceFault):
    """What went wrong with a connection, and what to do about it."""

    reason: FaultReason


def is_of_aws(topic_filter: str) -> bool:
    """Return whether a topic filter is for the events of AWS IoT Core."""
    return topic_filter.startswith("$aws/")


_ADD_TO_POLICY = "On AWS, add to the policy of the client certificate or IAM role: "
_RESOURCE_TYPES = {"Connect": "client", "Subscribe": "topicfilter", "Receive": "topic"}


def policy_statement(
    action: Literal["Connect", "Subscribe", "Receive"], name: str, endpoint: str
) -> dict[str, str]:
    """Return the policy statement that allows an action on a client ID or topic filter.

    A subscription needs both `Subscribe` and `Receive`; AWS reports a missing `iot:Receive`
    nowhere. In policies `*` is the wildcard, and `#` and `+` are literal characters.
    """
    if action != "Connect":
        name = name.replace("#", "*").replace("+", "*")
    prefix = arn_prefix(region_of_endpoint(endpoint))
    return {
        "Effect": "Allow",
        "Action": f"iot:{action}",
        "Resource": f"{prefix}:ACCOUNT:{_RESOURCE_TYPES[action]}/{name}",
    }


def connect_remedy(client_id: str, endpoint: str) -> str:
    """Return a sentence with the statement that allows a connection with this client ID."""
    return _ADD_TO_POLICY + json.dumps(policy_statement("Connect", client_id, endpoint))


def subscribe_remedy(topic_filter: str, endpoint: str) -> str:
    """Return a sentence on what allows a subscription and its messages: for AWS, statements."""
    if not is_aws(endpoint) and not is_of_aws(topic_filter):
        return f"Check that the broker allows this client to subscribe to {topic_filter}"
    subscribe = json.dumps(policy_statement("Subscribe", topic_filter, endpoint))
    receive = json.dumps(policy_statement("Receive", topic_filter, endpoint))
    return f"{_ADD_TO_POLICY}{subscribe} and {receive}"


def receive_remedy(filters: Sequence[str], endpoint: str) -> str:
    """Return a sentence on what allows messages of granted subscriptions: for AWS, statements."""
    if not is_aws(endpoint) and not any(map(is_of_aws, filters)):
        return "Check that the broker allows this client to read these topics"
    statements = (json.dumps(policy_statement("Receive", each, endpoint)) for each in filters)
    return (
        "AWS grants a subscription and then delivers nothing if the policy of the client"
        " certificate or IAM role lacks iot:Receive: check that it"
        f" contains {' and '.join(statements)}"
    )


# The QoS of a message is the lower of that at which it was published and that which the broker
# granted (MQTT 5 section 3.8.4). A session keeps messages of QoS 1 only (section 4.1).
_AWS_QOS = "; AWS IoT Core does not document the QoS at which it publishes"
_CONSEQUENCE = "no message of it is kept while presenced is disconnected, and each outage is a gap"


def granted_qos_0(topic_filter: str) -> Fault:
    """Return the fault of a filter that the broker granted at QoS 0 only."""
    return Fault(
        FaultReason.OTHER,
        f"the broker granted {topic_filter} at QoS 0 only, though mqtt.qos is 1: {_CONSEQUENCE}",
        "Configure the broker to grant QoS 1 (mosquitto limits it by max_qos)",
    )


def published_at_qos_0(topic_filter: str) -> Fault:
    """Return the fault of a filter with QoS 1 whose messages are published at QoS 0."""
    return Fault(
        FaultReason.OTHER,
        f"events on {topic_filter} come at QoS 0, though the broker granted QoS 1: {_CONSEQUENCE}",
        "Publish them at QoS 1 if you control the publisher"
        + (_AWS_QOS if is_of_aws(topic_filter) else ""),
    )
