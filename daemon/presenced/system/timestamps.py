"""Times as people and programs read them."""

from datetime import UTC, datetime


def format_utc(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds: `...T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
