"""Times as people and programs read them."""

from datetime import UTC, datetime

_NEAR = 20 * 3600.0
"""How near a time must be, in seconds, so that it is not taken for that of another day."""


def format_utc(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds: `...T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def clock_utc(seconds: float, now: float) -> str:
    """Return the time of day, such as `12:00:00 UTC`, with the date unless it is near."""
    return _text(seconds, now, "%H:%M:%S UTC")


def minute_utc(seconds: float, now: float) -> str:
    """Return the same without seconds, such as `12:00 UTC`."""
    return _text(seconds, now, "%H:%M UTC")


def _text(seconds: float, now: float, form: str) -> str:
    is_near = abs(now - seconds) < _NEAR
    return datetime.fromtimestamp(seconds, UTC).strftime(form if is_near else f"%Y-%m-%d {form}")
