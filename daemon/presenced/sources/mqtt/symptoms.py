"""The faults of a connection that both transports report, and their remedies.

Reason codes are those of MQTT 5 section 2.4.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from presenced.settings.partitions import is_aws
from presenced.settings.proxy import refusal
from presenced.sources.faults import (
    CLIENT_ALERTS,
    certificate_problem,
    certificate_remedy,
    client_alert,
)
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault, FaultReason, connect_remedy
from presenced.sources.mqtt.tunnel import ProxyError
from presenced.system.network import is_no_tls, tcp_problem, tls_reason

_ALPN_ALERT = "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"


def network_fault(error: OSError, options: ConnectionOptions) -> Fault:
    """Return the fault behind an error of name resolution, a TCP connect or a proxy."""
    if isinstance(error, ProxyError):
        return _proxy_fault(error)
    if isinstance(error, socket.gaierror):
        return name_unknown(options)
    return unreachable(tcp_problem(error), options)


def name_unknown(options: ConnectionOptions) -> Fault:
    """Return the fault of an endpoint, or its proxy, whose name has no address."""
    if proxy := options.proxy:
        return Fault(
            FaultReason.PROXY_UNREACHABLE,
            f"the name {proxy.host} of the proxy cannot be resolved",
            f"Check {proxy.key} and the name servers of this machine",
        )
    command = " (aws iot describe-endpoint --endpoint-type iot:Data-ATS)"
    return Fault(
        FaultReason.NAME_RESOLUTION,
        f"the name {options.endpoint} cannot be resolved",
        f"Check mqtt.endpoint{command if options.may_be_aws else ''} and the name servers of this"
        " machine",
    )


def unreachable(why: str, options: ConnectionOptions) -> Fault:
    """Return the fault of a failed TCP connection; `why` continues "the broker ..."."""
    if proxy := options.proxy:
        return Fault(
            FaultReason.PROXY_UNREACHABLE,
            f"the proxy at {proxy.address} {why}",
            f"Check {proxy.key}, that the proxy runs, and the firewalls in between",
        )
    return Fault(
        FaultReason.UNREACHABLE,
        f"the broker at {options.address} {why}",
        "Check that the broker runs, its port, and the firewalls in between",
    )


_PROXY_REASONS = {
    "authentication": FaultReason.PROXY_AUTHENTICATION,
    "forbidden": FaultReason.PROXY_REFUSED,
    "unreachable": FaultReason.UNREACHABLE,
}


def _proxy_fault(error: ProxyError) -> Fault:
    proxy, target = error.proxy, error.target
    if error.status is None:
        return Fault(
            FaultReason.PROXY_UNREACHABLE,
            f"the server at {proxy.address} {error.strerror}",
            f"Check that {proxy.key} is an HTTP proxy, and that it reaches {target}",
        )
    found = refusal(proxy, error.status, target)
    return Fault(_PROXY_REASONS[found.kind], found.detail, found.remedy)


def proxy_refused(options: ConnectionOptions) -> Fault:
    """Return the fault of a proxy that refuses for a reason that is not known."""
    assert options.proxy is not None  # noqa: S101 - a proxy refused
    return Fault(
        FaultReason.PROXY_REFUSED,
        f"the proxy at {options.proxy.address} does not connect to {options.address}",
        f"Check {options.proxy.key}, and the log of the proxy",
    )


def tls_fault(error: OSError, options: ConnectionOptions) -> Fault:
    """Return the fault behind an error of a TLS handshake, or of the first read after it.

    In TLS 1.3 a server checks the client certificate after the client has finished the handshake,
    so that its alert comes with the first read.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _server_fault(error, options)
    if alert := client_alert(error):
        return _client_fault(alert, options)
    reason = tls_reason(error)
    if reason == _ALPN_ALERT:
        return alpn_fault(options)
    if is_no_tls(error):
        return Fault(
            FaultReason.TLS,
            f"the server at {options.address} does not speak TLS",
            "Check mqtt.port (8883 or 443 with TLS); `mqtt.tls: false` is for plaintext brokers",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return Fault(
            FaultReason.TLS,
            f"the server at {options.address} closed the connection during the TLS handshake",
            "Check that mqtt.port is a TLS port and that nothing between here and there blocks it",
        )
    return Fault(
        FaultReason.TLS, f"the TLS handshake with {options.address} failed ({reason or error})"
    )


def _server_fault(error: ssl.SSLCertVerificationError, options: ConnectionOptions) -> Fault:
    ca = options.tls.ca if options.tls else None
    of_aws = "; for the -ats endpoints of AWS IoT Core that is AmazonRootCA1.pem"
    return Fault(
        FaultReason.TLS_SERVER_CERTIFICATE,
        f"the certificate of the server at {options.address} {certificate_problem(error, ca)}",
        certificate_remedy(
            error,
            server="server",
            name="Set mqtt.endpoint to a name that the server's certificate holds; if that name"
            " does not lead to this server, set mqtt.server_name to it",
            ca="Set mqtt.tls.ca to the CA that signed the server's certificate"
            + (of_aws if options.may_be_aws else ""),
        ),
    )


def _client_fault(alert: str, options: ConnectionOptions) -> Fault:
    rejected = "a connection without client certificate"
    remedy = "Set mqtt.tls.cert and mqtt.tls.key"
    if options.auth == "custom":
        remedy = (
            "On AWS, use mqtt.port 443, or a domain configuration with the authentication type"
            " CUSTOM_AUTH: aws iot describe-domain-configuration"
        )
    if options.tls and options.tls.cert:
        rejected = f"the client certificate {options.tls.cert}"
        remedy = (
            "On AWS, the certificate must be registered in this account and region, and active:"
            " aws iot list-certificates"
            if options.may_be_aws
            else "Check that the broker trusts the CA of the certificate"
        )
    return Fault(
        FaultReason.TLS_CLIENT_CERTIFICATE,
        f"the server at {options.address} rejects {rejected}: {CLIENT_ALERTS[alert]}",
        remedy,
    )


def alpn_fault(options: ConnectionOptions) -> Fault:
    """Return the fault of a server that does not accept the protocol offered by ALPN."""
    return Fault(
        FaultReason.TLS,
        f"the server at {options.address} does not offer {', '.join(options.alpn)} by ALPN",
        "Only AWS IoT Core speaks MQTT on port 443; use the TLS port of your broker"
        if options.may_be_aws
        else "Use the TLS port of your broker, such as 8883",
    )


def closed_before_connack(options: ConnectionOptions) -> Fault:
    """Return the fault of a broker that closes the connection to refuse a CONNECT."""
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the broker at {options.address} closed the connection instead of answering CONNECT",
        _not_authorized_remedy(options),
    )


def no_connack(options: ConnectionOptions) -> Fault:
    """Return the fault of a broker that does not answer CONNECT."""
    return Fault(
        FaultReason.NO_ANSWER,
        f"the broker at {options.address} did not answer CONNECT",
        "If it did before, read the broker's log: it may be overloaded or hang. Else check that"
        " mqtt.port is the port of an MQTT broker",
    )


def no_pingresp(options: ConnectionOptions) -> Fault:
    """Return the fault of a broker that does not answer a PINGREQ."""
    return Fault(
        FaultReason.KEEP_ALIVE_TIMEOUT,
        f"the broker at {options.address} did not answer a PINGREQ in time",
        "Check the network between here and the broker",
    )


def connection_closed(options: ConnectionOptions) -> Fault:
    """Return the fault of an accepted connection that ended without the broker's DISCONNECT.

    In MQTT 3.1.1 brokers send no DISCONNECT: each end looks like this, also a takeover.
    """
    return Fault(
        FaultReason.CONNECTION_LOST,
        f"the connection to {options.address} was closed without a reason",
        "Look for this client ID in the broker's log"
        + ("; on AWS, in CloudWatch (AWSIotLogsV2)" if options.may_be_aws else ""),
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
    134: "Check mqtt.username and mqtt.password_file",
    136: _TRIED_AGAIN,
    137: _TRIED_AGAIN,
    138: "Ask the operators of the broker why it bans this client",
    139: _TRIED_AGAIN,
    141: "Check the network between here and the broker; a shorter mqtt.keep_alive keeps idle"
    " connections open through NAT and load balancers",
    142: _OTHER_CLIENT,
    151: "Look at the limits of the broker: how many clients may connect, and how often",
    159: "The broker limits how often a client may connect. " + _OTHER_CLIENT,
}
_AWS_REMEDIES = {
    151: "AWS IoT Core limits connections per account and per second; look at the account's quotas",
    159: "AWS IoT Core accepts one CONNECT per second and client ID. " + _OTHER_CLIENT,
}
_CONNACK_REASONS = dict.fromkeys((134, 135, 138, 140), FaultReason.NOT_AUTHORIZED)
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


def connack_fault(code: int, options: ConnectionOptions, said: str | None = None) -> Fault:
    """Return the fault of a CONNACK that refuses; `said` is the broker's Reason String.

    `code` is a reason code of MQTT 5 section 3.2.2.2. The return codes 1 to 5 of MQTT 3.1.1
    correspond to 132, 133, 136, 134 and 135.
    """
    reason = _CONNACK_REASONS.get(code, FaultReason.CONNECT_REFUSED)
    return _coded_fault(reason, "refused the connection of", code, options, said)


def disconnect_fault(code: int, options: ConnectionOptions, said: str | None = None) -> Fault:
    """Return the fault of a DISCONNECT that the broker sent (MQTT 5 section 3.14.2.1)."""
    reason = _DISCONNECT_REASONS.get(code, FaultReason.SERVER_DISCONNECT)
    return _coded_fault(reason, "disconnected", code, options, said)


def _coded_fault(
    reason: FaultReason, action: str, code: int, options: ConnectionOptions, said: str | None
) -> Fault:
    detail = f"the broker at {options.address} {action} {options.client_id} ({reason_name(code)})"
    remedy = _REMEDIES.get(code, "")
    if options.may_be_aws:
        remedy = _AWS_REMEDIES.get(code, remedy)
    if code == _NOT_AUTHORIZED:
        remedy = _not_authorized_remedy(options)
    printable = "".join(c for c in (said or "")[:200] if c.isprintable())
    return Fault(reason, detail, remedy, printable)


def _not_authorized_remedy(options: ConnectionOptions) -> str:
    """Return what to check: the login if there is one, and the policy unless it is not AWS."""
    if options.auth == "custom":
        return (
            "Check mqtt.authorizer, mqtt.username and mqtt.password_file; the Lambda function of"
            " the authorizer must return a policy that allows iot:Connect, and `aws iot"
            " test-invoke-authorizer` shows what it returns"
        )
    if not options.may_be_aws:
        login = "" if options.username is None else "mqtt.username and mqtt.password_file, and "
        return f"Check {login}what the broker allows this user and client ID"
    policy = connect_remedy(options.client_id, options.certified_name)
    if options.username is None:
        # Without a user name the broker may be a custom domain of AWS.
        return policy
    login = "Check mqtt.username and mqtt.password_file"
    if is_aws(options.certified_name):
        return f"{login}. {policy}"
    return f"{login}, and what the broker allows this user and client ID"
