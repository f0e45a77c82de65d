"""Times as JSON has them."""

from datetime import UTC, datetime

__all__ = ["in_words", "timestamp"]

_LAST = 253_402_300_799.0  # of the year 9999, after which RFC 3339 has no more


def timestamp(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 has them, in milliseconds and UTC; None after 9999."""
    if seconds is None or seconds > _LAST:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def in_words(seconds: float) -> str:
    """Seconds since the epoch as a sentence has them."""
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
