"""Check the PEM files of a TLS connection, and load them."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings.certificates import check_tls_files
from presenced.sources.faults import Fault, FaultReason
from presenced.sources.source import SourceOptions, TlsFiles

Stamps = tuple[tuple[int, int] | None, ...]


def examine_files(tls: TlsFiles, now: datetime | None = None) -> Fault | None:
    """Return why the files cannot be used at `now`, by default the present; None if they can."""
    for problem in check_tls_files(tls, now=now or datetime.now(UTC)):
        # A CA file without an authority may hold the server's certificate itself, which works.
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

    Raises OSError, such as ssl.SSLError, if a file cannot be used.
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
    """Return the modification time and size of each file, None for a file that cannot be read.

    Not the change time: a new mode or owner is no reason to reconnect.
    """
    return tuple(_stamp(path) for path in (tls.cert, tls.key, tls.ca) if path) if tls else ()


def renewed(tls: TlsFiles | None, read: Stamps) -> bool:
    """Whether the files differ from those that were `read`, and can be used."""
    return tls is not None and stamps(tls) != read and examine_files(tls) is None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
