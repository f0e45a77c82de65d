"""What errors of the standard library's TLS mean for people."""

import ssl

from presenced.mqtt.faults import Fault, FaultReason
from presenced.mqtt.source import SourceOptions, TlsFiles

__all__ = ["alpn_fault", "tls_fault"]

# Numbers of X509_V_ERR_* in OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)

_SERVER_REMEDIES = {
    _NOT_YET_VALID: "Check the clock of this machine",
    _EXPIRED: "Check the clock of this machine; else the server needs a new certificate",
    **dict.fromkeys(_OTHER_NAME, "Set mqtt.endpoint to a name that the server's certificate holds"),
}
_WRONG_CA = (
    "Set mqtt.tls.ca to the CA that signed the server's certificate; for the -ats endpoints of"
    " AWS IoT Core that is AmazonRootCA1.pem"
)

_NOT_ACCEPTED = (
    "On AWS, the certificate must be registered in this account and region, and active:"
    " aws iot list-certificates"
)
# What the server said of our certificate: TLS alerts (RFC 8446 section 6.2) as OpenSSL names them.
_CLIENT_ALERTS = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the CA that signed it",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it calls the certificate bad",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not support this kind of certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it calls the certificate revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it calls the certificate expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept the certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it denies access",
    "TLSV1_ALERT_DECRYPT_ERROR": "it could not verify the signature",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it ended the handshake",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate and got none",
}
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
_ALPN_ALERT = "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"


def tls_fault(error: OSError, options: SourceOptions) -> Fault:
    """The fault behind an error of a TLS handshake, or of the first read after it.

    In TLS 1.3 a server judges the client's certificate after the client has finished its side of
    the handshake, so that its alert comes with the first read.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _server_fault(error, options)
    reason = getattr(error, "reason", None) or ""
    if reason in _CLIENT_ALERTS:
        return _client_fault(reason, options)
    if reason == _ALPN_ALERT:
        return alpn_fault(options)
    if reason in _NO_TLS:
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


def _server_fault(error: ssl.SSLCertVerificationError, options: SourceOptions) -> Fault:
    ca = (options.tls or TlsFiles()).ca
    trust = f"the CA file {ca}" if ca else "the system's trust store"
    remedy = _SERVER_REMEDIES.get(error.verify_code)
    detail = f"the certificate of the server at {options.address} is not valid"
    if remedy is None:
        detail = f"{trust} does not vouch for the certificate of the server at {options.address}"
    return Fault(
        FaultReason.TLS_SERVER_CERTIFICATE,
        f"{detail} ({error.verify_message})",
        remedy or _WRONG_CA,
    )


def _client_fault(reason: str, options: SourceOptions) -> Fault:
    cert = (options.tls or TlsFiles()).cert
    ours = f"the client certificate {cert}" if cert else "a connection without client certificate"
    remedy = _NOT_ACCEPTED if cert else "Set mqtt.tls.cert and mqtt.tls.key"
    return Fault(
        FaultReason.TLS_CLIENT_CERTIFICATE,
        f"the server at {options.address} rejects {ours}: {_CLIENT_ALERTS[reason]}",
        remedy,
    )


def alpn_fault(options: SourceOptions) -> Fault:
    """The fault of a server that does not take the protocol offered by ALPN."""
    return Fault(
        FaultReason.TLS,
        f"the server at {options.address} does not offer {', '.join(options.alpn)} by ALPN",
        "Only AWS IoT Core speaks MQTT on port 443; use the TLS port of your broker",
    )
