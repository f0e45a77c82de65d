"""Who went offline when, as the daemon's log tells."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["WentOffline", "went_offline"]


class WentOffline(NamedTuple):
    """A client that went offline: when its disconnect was received, and when that was confirmed.

    Both are seconds since the epoch. The log has `since` in whole milliseconds, rounded down.
    """

    client_id: str
    since: float
    at: float


def went_offline(log: Path) -> Iterator[WentOffline]:
    """Every transition to offline in a log of level info and format json."""
    with log.open() as lines:
        for line in lines:
            if '"client went offline"' in line:
                entry = json.loads(line)
                since, at = (
                    datetime.fromisoformat(entry[key]).timestamp() for key in ("since", "timestamp")
                )
                yield WentOffline(entry["client_id"], since, at)
