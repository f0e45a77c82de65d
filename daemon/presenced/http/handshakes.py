"""The TLS of new connections, and why handshakes fail."""

import ssl

from presenced.http.protection import Watch
from presenced.http.tls_context import LiveContext
from presenced.log import Throttle, get_logger

__all__ = ["live_context"]

_LOG_INTERVAL = 60.0
_HINTS = {
    "HTTP_REQUEST": "the client speaks plain HTTP: set `scheme: https` in its scrape_config",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate, which client_auth_type"
    " demands: set cert_file and key_file in its tls_config",
    "CERTIFICATE_VERIFY_FAILED": "no authority of client_ca_file signed the client's certificate,"
    " or it is not valid now",
    "UNSUPPORTED_PROTOCOL": "the client's versions of TLS lie outside min_version to max_version",
    "NO_SHARED_CIPHER": "the client knows none of cipher_suites",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust our certificate: set ca_file in its"
    " tls_config",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}


def live_context(watch: Watch) -> LiveContext | None:
    """A context that follows a watched protection; None where that has no TLS."""
    if watch.current.context is None:
        return None
    return LiveContext.of(lambda: watch.current.context, _Report())


class _Report:
    """Logs failed handshakes, each reason once in a while: whoever scans ports causes many."""

    def __init__(self) -> None:
        self._log = get_logger("presenced.http")
        self._throttle = Throttle(_LOG_INTERVAL)

    def __call__(self, error: ssl.SSLError) -> None:
        reason = error.reason or type(error).__name__
        left_out = self._throttle.admit(reason)
        if left_out is not None:
            self._log.info(
                "TLS handshake failed", reason=reason, hint=_HINTS.get(reason), left_out=left_out
            )
