"""Faults that show only how a connection ended, in the words shared by both transports.

The reason codes of MQTT 5 section 2.4 as faults that say what to do.
"""

import errno
import socket

from presenced.sources.faults import Fault, FaultReason, connect_remedy
from presenced.sources.source import SourceOptions


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


_NAMES = {
    0: "success",
    4: "disconnect with will message",
    128: "unspecified error",
    129: "malformed packet",
    130: "protocol error",
    131: "implementation specific error",
    132: "unsupported protocol version",
    133: "client identifier not valid",
    134: "bad user name or password",
    135: "not authorized",
    136: "server unavailable",
    137: "server busy",
    138: "banned",
    139: "server shutting down",
    140: "bad authentication method",
    141: "keep alive timeout",
    142: "session taken over",
    143: "topic filter invalid",
    144: "topic name invalid",
    145: "packet identifier in use",
    147: "receive maximum exceeded",
    148: "topic alias invalid",
    149: "packet too large",
    150: "message rate too high",
    151: "quota exceeded",
    152: "administrative action",
    153: "payload format invalid",
    154: "retain not supported",
    155: "QoS not supported",
    156: "use another server",
    157: "server moved",
    158: "shared subscriptions not supported",
    159: "connection rate exceeded",
    160: "maximum connect time",
    161: "subscription identifiers not supported",
    162: "wildcard subscriptions not supported",
}

_REFUSAL = 128
_NOT_AUTHORIZED = 135

_OTHER_CLIENT = (
    "Another client uses this client ID; give each daemon its own mqtt.client_id, and make sure"
    " that no second one runs with the same configuration"
)
_TRIED_AGAIN = "The daemon keeps trying, more and more slowly"
_REMEDIES = {
    132: "Choose an MQTT version that the broker speaks; mqtt.transport aiomqtt has 3.1.1 and 5",
    133: "Choose another mqtt.client_id: at most 128 bytes, without # and +, not starting with $",
    134: "Check the user name and the password",
    136: _TRIED_AGAIN,
    137: _TRIED_AGAIN,
    138: "Ask those who run the broker why it bans this client",
    139: _TRIED_AGAIN,
    141: "Check the network between here and the broker; a shorter mqtt.keep_alive keeps idle"
    " connections open through NAT and load balancers",
    142: _OTHER_CLIENT,
    151: "AWS IoT Core limits connections per account and per second; look at the account's quotas",
    159: "AWS IoT Core accepts one CONNECT per second and client ID. " + _OTHER_CLIENT,
}
_CONNECT_REASONS = {
    134: FaultReason.NOT_AUTHORIZED,
    135: FaultReason.NOT_AUTHORIZED,
    138: FaultReason.NOT_AUTHORIZED,
    140: FaultReason.NOT_AUTHORIZED,
}
_DISCONNECT_REASONS = {
    135: FaultReason.NOT_AUTHORIZED,
    141: FaultReason.KEEP_ALIVE_TIMEOUT,
    142: FaultReason.TAKEN_OVER,
}


def reason_name(code: int) -> str:
    """The name and number of a reason code, such as `not authorized, 135`."""
    return f"{_NAMES.get(code, 'unknown reason')}, {code}"


def is_refusal(code: int) -> bool:
    """Whether a reason code refuses: 128 and above, in MQTT 3.1.1 SUBACKs as in MQTT 5."""
    return code >= _REFUSAL


def connack_fault(code: int, options: SourceOptions, said: str | None = None) -> Fault:
    """The fault of a CONNACK that refuses; `said` is the broker's Reason String.

    `code` is a reason code of MQTT 5 section 3.2.2.2; the return codes 1 to 5 of MQTT 3.1.1 are
    to be given as 132, 133, 136, 134 and 135.
    """
    return Fault(
        _CONNECT_REASONS.get(code, FaultReason.CONNECT_REFUSED),
        f"the broker at {options.address} refused the connection of {options.client_id}"
        f" ({reason_name(code)})",
        _remedy(code, options),
        _shortened(said),
    )


def disconnect_fault(code: int, options: SourceOptions, said: str | None = None) -> Fault:
    """The fault of a DISCONNECT that the broker sent (MQTT 5 section 3.14.2.1)."""
    return Fault(
        _DISCONNECT_REASONS.get(code, FaultReason.SERVER_DISCONNECT),
        f"the broker at {options.address} disconnected {options.client_id} ({reason_name(code)})",
        _remedy(code, options),
        _shortened(said),
    )


def _remedy(code: int, options: SourceOptions) -> str:
    if code == _NOT_AUTHORIZED:
        return connect_remedy(options.client_id, options.endpoint)
    return _REMEDIES.get(code, "")


def _shortened(said: str | None) -> str:
    return "".join(c for c in said[:200] if c.isprintable()) if said else ""
