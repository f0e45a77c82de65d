"""Faults that show only how a connection ended, in the words shared by both transports."""

import errno
import socket

from presenced.mqtt.faults import Fault, FaultReason
from presenced.mqtt.policy import connect_remedy
from presenced.mqtt.source import SourceOptions

__all__ = [
    "closed_before_connack",
    "connection_closed",
    "name_unknown",
    "network_fault",
    "no_connack",
    "no_pingresp",
    "unreachable",
]


def network_fault(error: OSError, options: SourceOptions) -> Fault:
    """The fault behind an error of name resolution or of a TCP connect."""
    if isinstance(error, socket.gaierror):
        return name_unknown(options)
    if isinstance(error, TimeoutError):
        return unreachable("did not answer", options)
    if error.errno == errno.ECONNREFUSED:
        return unreachable("refused the TCP connection", options)
    return unreachable(f"cannot be reached ({error.strerror or error})", options)


def name_unknown(options: SourceOptions) -> Fault:
    """The endpoint's name has no address."""
    return Fault(
        FaultReason.NAME_RESOLUTION,
        f"the name {options.endpoint} cannot be resolved",
        "Check mqtt.endpoint (aws iot describe-endpoint --endpoint-type iot:Data-ATS) and the"
        " name servers of this machine",
    )


def unreachable(why: str, options: SourceOptions) -> Fault:
    """No TCP connection came about; `why` continues "the broker ..."."""
    return Fault(
        FaultReason.UNREACHABLE,
        f"the broker at {options.address} {why}",
        "Check that the broker runs, its port, and the firewalls on the way",
    )


def closed_before_connack(options: SourceOptions) -> Fault:
    """The broker hung up on our CONNECT, as some do with clients that they do not want."""
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the broker at {options.address} closed the connection instead of answering CONNECT",
        connect_remedy(options.client_id, options.endpoint),
    )


def no_connack(options: SourceOptions) -> Fault:
    """The broker took our CONNECT and said nothing."""
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the broker at {options.address} did not answer CONNECT",
        "Check that mqtt.port is the port of an MQTT broker",
    )


def no_pingresp(options: SourceOptions) -> Fault:
    """An accepted connection fell silent."""
    return Fault(
        FaultReason.KEEP_ALIVE_TIMEOUT,
        f"the broker at {options.address} did not answer a PINGREQ in time",
        "Check the network between here and the broker",
    )


def connection_closed(options: SourceOptions) -> Fault:
    """An accepted connection ended without a DISCONNECT from the broker.

    MQTT 3.1.1 has no such packet for brokers: there every end looks like this, a takeover too.
    """
    return Fault(
        FaultReason.CONNECTION_LOST,
        f"the connection to {options.address} was closed without a reason",
    )
