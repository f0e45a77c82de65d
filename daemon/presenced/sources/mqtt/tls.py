"""What errors of the standard library's TLS mean for people.

The PEM files of a TLS connection: what is wrong with them, and the context made of them.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings.certificates import check_tls_files
from presenced.sources.faults import Fault, FaultReason
from presenced.sources.source import SourceOptions, TlsFiles

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


Stamps = tuple[tuple[int, int] | None, ...]


def examine_files(tls: TlsFiles, now: datetime | None = None) -> Fault | None:
    """Return what keeps the files from being used `now`, None if nothing; contact nobody.

    `now` is by default this moment.
    """
    for problem in check_tls_files(tls, now=now or datetime.now(UTC)):
        # Without an authority the CA file may hold the server's certificate itself, which works.
        if problem.severity == "error" and problem.kind != "no_authority":
            if problem.kind not in ("expired", "not_yet_valid"):
                reason = FaultReason.TLS_FILES
            elif problem.key == "mqtt.tls.cert":
                reason = FaultReason.TLS_CLIENT_CERTIFICATE
            else:
                reason = FaultReason.TLS_SERVER_CERTIFICATE
            return Fault(reason, problem.summary, problem.remedy)
    return None


def client_context(options: SourceOptions) -> ssl.SSLContext:
    """The standard library's TLS context for a connection.

    Raises OSError (of which ssl.SSLError is one) where a file cannot be used.
    """
    tls = options.tls or TlsFiles()
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        # A password of its own making: OpenSSL would ask for one on the terminal otherwise.
        context.load_cert_chain(tls.cert, tls.key, password="")
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    return context


def stamps(tls: TlsFiles | None) -> Stamps:
    """Time of change and size of each file, to see whether someone replaced one."""
    if tls is None:
        return ()
    return tuple(_stamp(path) for path in (tls.cert, tls.key, tls.ca))


def renewed(tls: TlsFiles | None, read: Stamps) -> bool:
    """Whether the files differ from those that were `read`, and are fit to be used.

    Reads the files only where they differ.
    """
    return tls is not None and stamps(tls) != read and examine_files(tls) is None


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size) if stat else None
