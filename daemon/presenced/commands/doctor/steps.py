"""The steps before MQTT: certificate files, name resolution, TCP, proxy and TLS.

They use the standard library, which names the causes of failures that the transports do not.
"""

import socket
import ssl
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from presenced.commands.doctor.report import Finding, Status
from presenced.settings import Problem, SettingsError
from presenced.settings.certificates import (
    EXPIRY_WARNING,
    PemFiles,
    certificate_expiries,
    check_tls_files,
)
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt.awscrt_link import AwscrtLink
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.diagnosis import handshake
from presenced.sources.mqtt.symptoms import network_fault
from presenced.sources.mqtt.tunnel import connect, open_tunnel


def check_files(files: PemFiles | None, now: datetime, section: str = "mqtt.tls") -> Finding:
    """Check that the files can be used: readable, valid `now`, and the key that of the certificate.

    `section` names them in the settings. Blocks only for reading files.
    """
    if files is None:
        return Finding(Status.SKIPPED, f"{section} is false: there are no files")
    problems = check_tls_files(files, now=now, section=section)
    # "error" before "warning": the first remedy is that of a failure.
    problems = sorted(problems, key=lambda problem: problem.severity)
    details = [problem.summary for problem in problems]
    if any(problem.severity == "error" for problem in problems):
        return Finding(Status.FAILED, "; ".join(details), _remedies(problems))
    status = Status.WARNING if problems else Status.OK
    return Finding(status, "; ".join([*details, _validity(files)]), _remedies(problems))


def check_hardware_key(options: ConnectionOptions) -> Finding:
    """Log in to the token of the options and look for the key; blocks."""
    try:
        AwscrtLink.load_tls(options, FileSnapshot())
    except SettingsError as error:
        details = "; ".join(problem.summary for problem in error.problems)
        return Finding(Status.FAILED, details, _remedies(list(error.problems)))
    return Finding(Status.OK, "the token accepts the login and has the key")


def _remedies(problems: list[Problem]) -> str:
    """Return the remedies, each with the keys that it is for if there are several."""
    keys: dict[str, list[str]] = {}
    for problem in problems:
        if problem.remedy:
            keys.setdefault(problem.remedy, []).append(problem.key)
    if len(keys) <= 1:
        return "".join(keys)
    return ". ".join(f"{', '.join(dict.fromkeys(names))}: {each}" for each, names in keys.items())


def _validity(files: PemFiles) -> str:
    """Return until when the certificates are valid."""
    parts = [
        f"{'CA' if name == 'ca' else name} certificate valid until"
        f" {datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
        for name, end in certificate_expiries(files).items()
    ]
    if files.key is not None:
        parts.insert(1, "the key belongs to it")
    return ", ".join(parts) or "no files are set: the system's trust store verifies the server"


_TIMEOUT = 5.0


class NetworkProbe:
    """Name resolution, TCP, proxy and TLS of one connection, in this order.

    With a proxy the first two steps are about it: the proxy resolves the broker's name. No MQTT
    packet is sent.

    Each step blocks for some seconds at most. `now` is compared with the server's certificate.
    """

    def __init__(self, options: ConnectionOptions, now: datetime) -> None:
        self._options = options
        self._now = now
        self._connection: socket.socket | None = None

    def close(self) -> None:
        """Close the TCP connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def resolve(self) -> Finding:
        """Look up the addresses of the endpoint, or of the proxy."""
        options, proxy = self._options, self._options.proxy
        host, port = (proxy.host, proxy.port) if proxy else (options.endpoint, options.port)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return Finding.of(network_fault(error, options))
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        of_proxy = f", from {proxy.key}," if proxy else ""
        return Finding(Status.OK, f"{host}{of_proxy} is {', '.join(addresses)}")

    def connect(self) -> Finding:
        """Open the TCP connection that the later steps use."""
        options = self._options
        try:
            self._connection = connect(options, _TIMEOUT)
        except OSError as error:
            return Finding.of(network_fault(error, options))
        host, port = self._connection.getpeername()[:2]
        return Finding(Status.OK, f"connected to {host} port {port}")

    def tunnel(self) -> Finding:
        """Have the proxy connect to the broker."""
        assert self._connection is not None  # noqa: S101 - `connect` has succeeded
        options, proxy = self._options, self._options.proxy
        assert proxy is not None  # noqa: S101 - this step is for connections through a proxy
        try:
            open_tunnel(self._connection, options, _TIMEOUT)
        except OSError as error:
            return Finding.of(network_fault(error, options))
        return Finding(Status.OK, f"{proxy.address} connects to {options.address}")

    def secure(self) -> Finding:
        """Negotiate TLS. Each side verifies the certificate of the other."""
        assert self._connection is not None  # noqa: S101 - `connect` has succeeded
        if self._options.tls is None:
            return Finding(Status.SKIPPED, "mqtt.tls is false: nothing is encrypted")
        negotiated, certificate = "", b""

        def inspect(secured: ssl.SSLSocket) -> None:
            nonlocal negotiated, certificate
            alpn = secured.selected_alpn_protocol()
            negotiated = f"{secured.version()}{f' with ALPN {alpn}' if alpn else ''}"
            certificate = secured.getpeercert(binary_form=True) or b""

        if fault := handshake(self._connection, self._options, after_handshake=inspect):
            return Finding.of(fault)
        trusted = f"{negotiated}, the server's certificate is trusted"
        try:
            parsed = x509.load_der_x509_certificate(certificate)
            expiry, issuer = parsed.not_valid_after_utc, _common_name(parsed.issuer)
        except ValueError:
            # OpenSSL has verified it, and is less strict than this parser.
            return Finding(Status.OK, trusted)
        detail = f"{trusted}, issued by {issuer} and valid until {expiry:%Y-%m-%d}"
        if expiry - self._now < EXPIRY_WARNING:
            remedy = "Ask the operator of the broker to renew it; AWS does so by itself"
            return Finding(Status.WARNING, detail, remedy)
        return Finding(Status.OK, detail)


def _common_name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(oid):
            return str(attributes[0].value)
    return name.rfc4514_string()
