"""The first step: the certificate files, before anything is contacted."""

from datetime import UTC, datetime, timedelta

from presenced.certificates import certificate_expiry, check_tls_files
from presenced.doctor.report import Finding, Status
from presenced.mqtt.source import TlsFiles
from presenced.mqtt.tls_files import examine_files
from presenced.settings import TlsSettings

__all__ = ["SOON", "check_files", "day"]

SOON = timedelta(days=30)
_RENEW = "Renew the certificate and put the new files in its place"


def check_files(tls: TlsSettings | None, now: datetime) -> Finding:
    """Whether the files can be used: readable, valid `now`, and the key that of the certificate.

    Never raises, and blocks only for reading files.
    """
    if tls is None:
        return Finding(Status.SKIPPED, "mqtt.tls is false: there are none")
    if fault := examine_files(TlsFiles(tls.cert, tls.key, tls.ca), now):
        return Finding.of(fault)
    problems = check_tls_files(tls, now=now)
    if errors := [str(problem) for problem in problems if problem.severity == "error"]:
        return Finding(Status.FAILED, "; ".join(errors))
    warnings = [str(problem) for problem in problems]
    expiring = [p for p in check_tls_files(tls, now=now + SOON) if p.kind == "expired"]
    warnings += [f"{p.key} = {p.value}: expires within {SOON.days} days" for p in expiring]
    if warnings:
        remedy = _RENEW if expiring else ""
        return Finding(Status.WARNING, "; ".join([*warnings, _validity(tls)]), remedy)
    return Finding(Status.OK, _validity(tls))


def day(moment: datetime) -> str:
    """A date for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def _validity(tls: TlsSettings) -> str:
    """Until when the certificates are valid; they have been read before."""
    told = []
    for what, path, bundle in (("client", tls.cert, False), ("CA", tls.ca, True)):
        if path is not None:
            end = datetime.fromtimestamp(certificate_expiry(path, bundle=bundle), UTC)
            told.append(f"{what} certificate valid until {day(end)}")
    if tls.cert is not None:
        told.insert(1, "the key is its own")
    return ", ".join(told) or "none are set: the system's trust store verifies the server"
