"""What went wrong between presenced and a broker, in words, with a remedy.

What is the same for MQTT and for Kafka: the certificates of both sides.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from presenced.system.network import tls_reason

# Numbers of X509_V_ERR_* in OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)
_ABOUT_ITSELF = (_NOT_YET_VALID, _EXPIRED, *_OTHER_NAME)

CLIENT_ALERTS: Mapping[str, str] = {
    "unknown ca": "it does not know the CA that signed it",
    "bad certificate": "it rejects the certificate as malformed",
    "unsupported certificate": "it does not support this kind of certificate",
    "certificate revoked": "it calls the certificate revoked",
    "certificate expired": "it calls the certificate expired",
    "certificate unknown": "it does not accept the certificate, perhaps because it has expired",
    "access denied": "it denies access",
    "decrypt error": "it could not verify the signature",
    "handshake failure": "it ended the handshake",
    "certificate required": "it requires a client certificate and got none",
}
"""What TLS alerts say about the client certificate, by their names in RFC 8446 section 6.2."""


@dataclass(frozen=True, slots=True)
class SourceFault:
    """What went wrong, and what to do about it.

    `said` is the broker's own text about it, if any. It may contain an identifier that is new each
    time, so equality ignores it.
    """

    reason: StrEnum
    detail: str
    remedy: str = ""
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        said = f' (the broker said: "{self.said}")' if self.said else ""
        return f"{self.detail}{said}. {self.remedy}" if self.remedy else f"{self.detail}{said}"


def client_alert(error: OSError) -> str | None:
    """Return the name of the alert about the client certificate; None if the error is another."""
    # OpenSSL names them as TLSV1_ALERT_UNKNOWN_CA and SSLV3_ALERT_BAD_CERTIFICATE.
    name = tls_reason(error).partition("ALERT_")[2].lower().replace("_", " ")
    return name if name in CLIENT_ALERTS else None


def trust_store(ca: Path | None) -> str:
    """Return the name of what a server's certificate is verified with."""
    return f"the CA file {ca}" if ca else "the system's trust store"


def certificate_problem(error: ssl.SSLCertVerificationError, ca: Path | None) -> str:
    """Return what is wrong with a server's certificate; it continues "the certificate of ..."."""
    is_trusted = error.verify_code in _ABOUT_ITSELF
    verdict = "is not valid" if is_trusted else f"cannot be verified with {trust_store(ca)}"
    return f"{verdict} ({error.verify_message})"


def certificate_remedy(
    error: ssl.SSLCertVerificationError, *, server: str, name: str, ca: str
) -> str:
    """Return the remedy for a server's certificate.

    `server` is what has it, `name` the remedy if it is for another name, and `ca` that if it is
    signed by an unknown authority.
    """
    if error.verify_code == _NOT_YET_VALID:
        return "Check the clock of this machine"
    if error.verify_code == _EXPIRED:
        return f"Check the clock of this machine; else the {server} needs a new certificate"
    return name if error.verify_code in _OTHER_NAME else ca
