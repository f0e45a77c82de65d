"""When the certificates expire with which presenced connects, as answers."""

from collections.abc import Mapping
from datetime import UTC, datetime

from presenced.settings.certificates import EXPIRY_WARNING
from presenced.system.timestamps import format_utc
from presenced.web.api import activity_answers as answers

_HOUR, _DAY = 3600.0, 86400.0
_REFUSED = "presenced cannot connect"
# A bundle may have other ones that are valid.
_NOT_TRUSTED = "presenced may refuse to connect"
_WORDS = {
    "client": ("presenced's client certificate", _REFUSED),
    "ca": ("a CA certificate with which presenced verifies the broker", _NOT_TRUSTED),
    "kafka_client": ("presenced's client certificate for Kafka", _REFUSED),
    "kafka_ca": ("a CA certificate with which presenced verifies Kafka", _NOT_TRUSTED),
}


def certificate_answers(
    expiries: Mapping[str, float], now: float
) -> list[answers.DaemonCertificate] | None:
    """Return the certificates, the first to expire first; None if there are none.

    `expiries` are those of `credential_files.expiries`, and `now` is a wall-clock time.
    """
    ranked = sorted(expiries.items(), key=lambda each: each[1])
    return [
        answers.DaemonCertificate(
            name=name, expires_at=format_utc(end), warning=_warning(name, end, now)
        )
        for name, end in ranked
    ] or None


def _warning(name: str, end: float, now: float) -> str | None:
    """Return what to say of a certificate that has expired or expires soon."""
    left = end - now
    if left >= EXPIRY_WARNING.total_seconds():
        return None
    (words, then), date = _WORDS[name], f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
    if left <= 0:
        return f"{words} expired on {date}: {then} until it is replaced"
    return f"{words} expires in {_length(left)}, on {date}: replace it before then, or {then}"


def _length(seconds: float) -> str:
    if seconds >= 2 * _DAY:
        return f"{int(seconds / _DAY)} days"
    hours = int(seconds / _HOUR)
    return "less than an hour" if hours == 0 else f"{hours} hour{'s' * (hours > 1)}"
