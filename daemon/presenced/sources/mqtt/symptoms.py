"""The faults of a connection that both transports report: how it ended, and what to do about it.

Reason codes are those of MQTT 5 section 2.4.
"""

import errno
import socket
from collections.abc import Mapping
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from presenced.sources.faults import Fault, FaultReason, connect_remedy
from presenced.sources.source import SourceOptions


def network_fault(error: OSError, options: SourceOptions) -> Fault:
    """Return the fault behind an error of name resolution or of a TCP connect."""
    if isinstance(error, socket.gaierror):
        return name_unknown(options)
    if isinstance(error, TimeoutError):
        return unreachable("did not answer", options)
    if error.errno == errno.ECONNREFUSED:
        return unreachable("refused the TCP connection", options)
    return unreachable(f"cannot be reached ({error.strerror or error})", options)


def name_unknown(options: SourceOptions) -> Fault:
    """Return the fault of an endpoint whose name has no address."""
    return Fault(
        FaultReason.NAME_RESOLUTION,
        f"the name {options.endpoint} cannot be resolved",
        "Check mqtt.endpoint (aws iot describe-endpoint --endpoint-type iot:Data-ATS) and the"
        " name servers of this machine",
    )


def unreachable(why: str, options: SourceOptions) -> Fault:
    """Return the fault of a failed TCP connection; `why` continues "the broker ..."."""
    return Fault(
        FaultReason.UNREACHABLE,
        f"the broker at {options.address} {why}",
        "Check that the broker runs, its port, and the firewalls in between",
    )


def closed_before_connack(options: SourceOptions) -> Fault:
    """Return the fault of a broker that hangs up on CONNECT, as some do to refuse a client."""
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the broker at {options.address} closed the connection instead of answering CONNECT",
        connect_remedy(options.client_id, options.endpoint),
    )


def no_connack(options: SourceOptions) -> Fault:
    """Return the fault of a broker that leaves CONNECT unanswered."""
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the broker at {options.address} did not answer CONNECT",
        "Check that mqtt.port is the port of an MQTT broker",
    )


def no_pingresp(options: SourceOptions) -> Fault:
    """Return the fault of an accepted connection without an answer to a ping."""
    return Fault(
        FaultReason.KEEP_ALIVE_TIMEOUT,
        f"the broker at {options.address} did not answer a PINGREQ in time",
        "Check the network between here and the broker",
    )


def connection_closed(options: SourceOptions) -> Fault:
    """Return the fault of an accepted connection that ended without the broker's DISCONNECT.

    MQTT 3.1.1 has no such packet for brokers: there every end looks like this, a takeover too.
    """
    return Fault(
        FaultReason.CONNECTION_LOST,
        f"the connection to {options.address} was closed without a reason",
    )


# By code; a code has other names in other packets.
_NAMES: Mapping[int, Mapping[str, Any]] = ReasonCode(PacketTypes.CONNACK).names

_REFUSAL = 128
_NOT_AUTHORIZED = 135

_OTHER_CLIENT = (
    "Another client uses this client ID; give each daemon its own mqtt.client_id, and make sure"
    " that no second one runs with the same configuration"
)
_TRIED_AGAIN = "The daemon keeps trying, at growing intervals"
_REMEDIES = {
    132: "Choose an MQTT version that the broker speaks; mqtt.transport aiomqtt has 3.1.1 and 5",
    133: "Choose another mqtt.client_id: at most 128 bytes, without # and +, not starting with $",
    134: "Check the user name and the password",
    136: _TRIED_AGAIN,
    137: _TRIED_AGAIN,
    138: "Ask the operators of the broker why it bans this client",
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
    """Return the name and number of a reason code, such as `not authorized, 135`."""
    return f"{next(iter(_NAMES.get(code, ['unknown reason']))).lower()}, {code}"


def is_refusal(code: int) -> bool:
    """Whether a reason code refuses: 128 and above, in MQTT 3.1.1 SUBACKs as in MQTT 5."""
    return code >= _REFUSAL


def connack_fault(code: int, options: SourceOptions, said: str | None = None) -> Fault:
    """Return the fault of a CONNACK that refuses; `said` is the broker's Reason String.

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
    """Return the fault of a DISCONNECT that the broker sent (MQTT 5 section 3.14.2.1)."""
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
