"""The steps from the name to TLS, walked with the standard library, which names causes."""

import socket
import ssl
from datetime import datetime
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.x509.oid import NameOID

from presenced.doctor.files import SOON, day
from presenced.doctor.report import Finding, Status
from presenced.mqtt.diagnosis import handshake
from presenced.mqtt.source import SourceOptions
from presenced.mqtt.symptoms import network_fault

__all__ = ["Road"]

_TIMEOUT = 5.0


class Road:
    """The way to the broker, one step after the other; each blocks for some seconds at most.

    No MQTT packet is sent on it.
    """

    def __init__(self, options: SourceOptions, now: datetime) -> None:
        self._options = options
        self._now = now
        self._connection: socket.socket | None = None
        self._certificate: bytes | None = None
        self._negotiated = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def resolve(self) -> Finding:
        """Look up the addresses of the endpoint."""
        options = self._options
        try:
            found = socket.getaddrinfo(options.endpoint, options.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return Finding.of(network_fault(error, options))
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return Finding(Status.OK, f"{options.endpoint} is {', '.join(addresses)}")

    def connect(self) -> Finding:
        """Open the TCP connection on which `secure` goes on."""
        options = self._options
        try:
            self._connection = socket.create_connection(
                (options.endpoint, options.port), timeout=_TIMEOUT
            )
        except OSError as error:
            return Finding.of(network_fault(error, options))
        host, port = self._connection.getpeername()[:2]
        return Finding(Status.OK, f"connected to {host} port {port}")

    def secure(self) -> Finding:
        """Negotiate TLS: each side judges the certificate of the other."""
        assert self._connection is not None  # noqa: S101 - `connect` has succeeded
        if self._options.tls is None:
            return Finding(Status.SKIPPED, "mqtt.tls is false: nothing is encrypted")
        fault = handshake(self._connection, self._options, met=self._meet)
        if fault is not None:
            return Finding.of(fault)
        return self._judge()

    def _meet(self, secured: ssl.SSLSocket) -> None:
        alpn = secured.selected_alpn_protocol()
        self._negotiated = f"{secured.version()}{f' with ALPN {alpn}' if alpn else ''}"
        self._certificate = secured.getpeercert(binary_form=True)

    def _judge(self) -> Finding:
        try:
            certificate = x509.load_der_x509_certificate(self._certificate or b"")
            end = certificate.not_valid_after_utc
            issuer = _name(certificate.issuer)
        except ValueError:
            # OpenSSL vouched for it; what this parser cannot read is left out.
            return Finding(Status.OK, f"{self._negotiated}, the server's certificate is trusted")
        told = (
            f"{self._negotiated}, the server's certificate is trusted, issued by {issuer} and"
            f" valid until {day(end)}"
        )
        if end - self._now < SOON:
            remedy = "Those who run the broker should renew it; AWS does so by itself"
            return Finding(Status.WARNING, told, remedy)
        return Finding(Status.OK, told)


def _name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(oid):
            return str(attributes[0].value)
    return name.rfc4514_string()
