"""The PEM files of a TLS connection: what is wrong with them, and the context made of them."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings.certificates import check_tls_files
from presenced.sources.faults import Fault, FaultReason
from presenced.sources.source import SourceOptions, TlsFiles

Stamps = tuple[tuple[int, int] | None, ...]


def examine_files(tls: TlsFiles, now: datetime | None = None) -> Fault | None:
    """Return what keeps the files from being used; None if they can be.

    Validity is checked at `now`, by default at this moment. Nothing is sent over the network.
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
    """Return the standard library's TLS context for a connection.

    Raises OSError (of which ssl.SSLError is one) where a file cannot be used.
    """
    tls = options.tls or TlsFiles()
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        # An empty password: without one OpenSSL would ask for it on the terminal.
        context.load_cert_chain(tls.cert, tls.key, password="")
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    return context


def stamps(tls: TlsFiles | None) -> Stamps:
    """Return the time of change and the size of each file, which show that one was replaced."""
    if tls is None:
        return ()
    return tuple(_stamp(path) for path in (tls.cert, tls.key, tls.ca))


def renewed(tls: TlsFiles | None, read: Stamps) -> bool:
    """Whether the files differ from those that were `read`, and are fit to be used.

    Reads the files only if they differ.
    """
    return tls is not None and stamps(tls) != read and examine_files(tls) is None


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size) if stat else None
