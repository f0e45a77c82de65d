"""What errors of the AWS Common Runtime mean for people."""

from presenced.mqtt.faults import Fault, FaultReason
from presenced.mqtt.source import SourceOptions
from presenced.mqtt.symptoms import (
    closed_before_connack,
    connection_closed,
    name_unknown,
    no_connack,
    no_pingresp,
    unreachable,
)

__all__ = ["connect_symptom", "loss_fault"]

_UNREACHABLE = {
    "AWS_IO_SOCKET_CONNECTION_REFUSED": "refused the TCP connection",
    "AWS_IO_SOCKET_TIMEOUT": "did not answer",
    "AWS_IO_SOCKET_NO_ROUTE_TO_HOST": "cannot be reached (no route)",
    "AWS_IO_SOCKET_NETWORK_DOWN": "cannot be reached (the network is down)",
}


def connect_symptom(error: Exception, options: SourceOptions) -> Fault:
    """What the library tells of an attempt that got no CONNACK; the cause may lie deeper."""
    name = getattr(error, "name", "")
    if name in _UNREACHABLE:
        return unreachable(_UNREACHABLE[name], options)
    if name.startswith("AWS_IO_DNS_"):
        return name_unknown(options)
    if name.startswith("AWS_IO_TLS_"):
        message = getattr(error, "message", name)
        detail = f"the TLS connection to {options.address} failed ({message})"
        return Fault(FaultReason.TLS, detail)
    if name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT":
        return no_connack(options)
    return closed_before_connack(options)


def loss_fault(error: Exception, options: SourceOptions) -> Fault:
    """The fault of an accepted connection that ended without a DISCONNECT from the broker."""
    if getattr(error, "name", "") == "AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT":
        return no_pingresp(options)
    return connection_closed(options)
