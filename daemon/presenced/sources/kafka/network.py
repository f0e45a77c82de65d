"""The steps before Kafka's protocol, with the standard library, which names causes of failures.

librdkafka tells neither an expired certificate of a broker from one of an unknown authority or for
another name, nor a listener with another protocol from one that is silent.
"""

import contextlib
import socket
import ssl

from presenced.settings.certificates import load_pair, verifying_context
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import KafkaSecurity
from presenced.settings.values import split_host_port
from presenced.sources.faults import client_alert
from presenced.sources.kafka import faults
from presenced.sources.kafka.faults import KafkaFaultError
from presenced.system.network import connect_tcp, is_no_tls, tcp_problem, tls_reason

_TIMEOUT = 5.0
# In TLS 1.3 a server checks the client certificate after the client has finished the handshake.
_ALERT_TIMEOUT = 1.0


def resolve(server: str, *, advertised: bool = False) -> list[str]:
    """Return the addresses of HOST:PORT, which the settings or the cluster name.

    Raises KafkaFaultError.
    """
    host, port = _parts(server)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise KafkaFaultError(faults.name_unknown(server, advertised=advertised)) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def negotiate(
    server: str, security: KafkaSecurity, snapshot: FileSnapshot, *, advertised: bool = False
) -> str:
    """Open a TCP connection, negotiate TLS, and return what was agreed on.

    Blocks for some seconds at most. Raises KafkaFaultError, and SettingsError if a file cannot be
    read.
    """
    try:
        connection = connect_tcp(*_parts(server), _TIMEOUT)
    except OSError as error:
        fault = faults.unreachable(server, tcp_problem(error), advertised=advertised)
        raise KafkaFaultError(fault) from None
    with connection:
        if security.protocol == "PLAINTEXT":
            return "TCP without encryption"
        try:
            return _handshake(connection, server, _context(security, snapshot))
        except OSError as error:
            raise KafkaFaultError(_tls_fault(error, server, security)) from None


def _parts(server: str) -> tuple[str, int]:
    parts = split_host_port(server)
    assert parts is not None  # noqa: S101 - the settings are validated
    return parts


def _context(security: KafkaSecurity, snapshot: FileSnapshot) -> ssl.SSLContext:
    ca = snapshot.read(security.ca, "kafka.security.ca") if security.ca else None
    context = verifying_context(ca)
    if security.cert is not None and security.key is not None:
        cert = snapshot.read(security.cert, "kafka.security.cert")
        load_pair(context, cert, snapshot.read(security.key, "kafka.security.key"))
    return context


def _handshake(connection: socket.socket, server: str, context: ssl.SSLContext) -> str:
    with context.wrap_socket(connection, server_hostname=_parts(server)[0]) as secured:
        version = secured.version()
        secured.settimeout(_ALERT_TIMEOUT)
        with contextlib.suppress(TimeoutError):  # silence: the broker waits for a request
            secured.recv(1)
        return f"{version}, the broker's certificate is trusted"


def _tls_fault(error: OSError, server: str, security: KafkaSecurity) -> faults.KafkaFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return faults.server_certificate(server, security, error)
    if alert := client_alert(error):
        return faults.client_certificate(server, security, alert)
    if is_no_tls(error) or isinstance(error, ssl.SSLEOFError | ConnectionError | TimeoutError):
        return faults.no_tls(server)
    return faults.files_refused(tls_reason(error) or str(error))
