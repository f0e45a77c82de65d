"""The PEM files of a TLS connection: what is wrong with them, and the context made of them."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.source import SourceOptions, TlsFiles

Stamps = tuple[tuple[int, int] | None, ...]

_RENEW = "Create or renew the certificate and put the new files in its place"


def examine_files(tls: TlsFiles, now: datetime | None = None) -> Fault | None:
    """What is wrong with the files themselves, before anything is contacted; None if nothing.

    Each must be readable PEM, key and certificate belong together, and the certificate be valid
    `now`, by default at this moment.
    """
    now = now or datetime.now(UTC)
    fault = _unreadable(tls)
    if fault is None and tls.cert is not None:
        fault = _mismatched(tls) or _out_of_date(tls.cert, now)
    if fault is None and tls.ca is not None:
        fault = _bad_ca(tls.ca)
    return fault


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


def _unreadable(tls: TlsFiles) -> Fault | None:
    named = (("certificate", tls.cert), ("private key", tls.key), ("CA", tls.ca))
    for what, path in named:
        try:
            content = path.read_bytes() if path else b"-----BEGIN "
        except OSError as error:
            return Fault(
                FaultReason.TLS_FILES,
                f"the {what} file {path} cannot be read ({error.strerror})",
                "Check the path and that the user of the daemon may read the file",
            )
        if b"-----BEGIN " not in content:
            return Fault(
                FaultReason.TLS_FILES,
                f"the {what} file {path} is not a PEM file",
                "Use the PEM file that AWS IoT offers for download",
            )
    return None


def _mismatched(tls: TlsFiles) -> Fault | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            tls.cert or "", tls.key, password=""
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return Fault(
                FaultReason.TLS_FILES,
                f"the private key {tls.key} does not belong to the certificate {tls.cert}",
                "Use the key that was created together with this certificate",
            )
        return Fault(
            FaultReason.TLS_FILES,
            f"the certificate {tls.cert} and the private key {tls.key} cannot be loaded"
            f" ({error.reason or 'not valid PEM'})",
            "Use an unencrypted PEM key and its PEM certificate",
        )
    return None


def _out_of_date(cert: Path, now: datetime) -> Fault | None:
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError:
        # OpenSSL took it; dates that this parser cannot read are for the server to judge.
        return None
    if now > end:
        return Fault(
            FaultReason.TLS_CLIENT_CERTIFICATE,
            f"the client certificate {cert} expired on {end:%Y-%m-%d %H:%M} UTC",
            _RENEW,
        )
    if now < begin:
        return Fault(
            FaultReason.TLS_CLIENT_CERTIFICATE,
            f"the client certificate {cert} is not valid before {begin:%Y-%m-%d %H:%M} UTC",
            "Check the clock of this machine; else wait or use another certificate",
        )
    return None


def _bad_ca(path: Path) -> Fault | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        return Fault(
            FaultReason.TLS_FILES,
            f"the CA file {path} holds no usable certificate ({error.reason or 'not valid PEM'})",
            "For AWS IoT Core use AmazonRootCA1.pem",
        )
    return None
