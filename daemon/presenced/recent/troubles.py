"""What is wrong with a single client, by its counts of the last hour."""

from collections.abc import Iterator
from typing import NamedTuple

from presenced.presence.recent_counts import SLOT_SECONDS, Kind, RecentCounts
from presenced.system.timestamps import minute_utc

FIGHT = 20
"""So many takeovers in an hour suggest two devices with one ID: as `PresencedClientFighting`."""
MANY_REFUSED = 6
"""So many refused connects in an hour are no chance: one every ten minutes."""

_OVER_AFTER = 1200.0
"""How long ago the last slot of ten minutes must have begun for it to be over, in seconds."""


class Trouble(NamedTuple):
    """What is wrong with a client: how often it happened within the last hour, and in words.

    `since` is the start of the ten minutes in which it began; `when` is that in words, with when it
    ended if it has.
    """

    kind: Kind
    number: int
    since: float
    when: str
    text: str


def troubles_of(recent: RecentCounts, client_id: str, now: float) -> Iterator[Trouble]:
    """Yield what is wrong with a client at a wall-clock time, the worse first; mostly nothing."""
    counts = recent.of(client_id, now)
    if counts.takeovers >= FIGHT:
        since, when = _when(recent, client_id, "takeovers", now)
        text = (
            f"taken over {counts.takeovers:,} times in the last hour, {when}:"
            " two devices may use this client ID"
        )
        yield Trouble("takeovers", counts.takeovers, since, when, text)
    if counts.refused >= MANY_REFUSED:
        since, when = _when(recent, client_id, "refused", now)
        text = f"{counts.refused:,} connects refused in the last hour, {when}"
        yield Trouble("refused", counts.refused, since, when, text)


def _when(recent: RecentCounts, client_id: str, kind: Kind, now: float) -> tuple[float, str]:
    """Return since when something goes on, and that in words."""
    spell = recent.spell(client_id, kind, now)
    assert spell is not None  # noqa: S101 - some slot has more than a sixth of the count
    first, last = minute_utc(spell.first, now), minute_utc(spell.last, now)
    if now - spell.last < _OVER_AFTER:
        end = min(spell.first + SLOT_SECONDS, now)
        latest = minute_utc(end, end)  # without a date
        return spell.first, f"beginning between {first.removesuffix(' UTC')} and {latest}"
    return spell.first, f"from about {first} to {last}" if first != last else f"at about {first}"
