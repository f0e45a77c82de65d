"""What stands out among the clients that are offline: a thing group, a thing type, or a reason.

The share that is offline is compared with that of all others by the test of two proportions, with
continuity correction. Of many groups some differ by chance, so the bar rises with their number:
z² >= 9 + 2 ln(number). That is z >= 3 for one, and z >= 4.8 for a thousand.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

MIN_SIZE = 5
"""How many members a group or type must have, and how many all others together."""
MIN_EXCESS = 0.05
"""By how much its share must exceed that of the others: in a large fleet any difference is
significant."""


class Share(NamedTuple):
    """How many of the things of a group or type are offline, of those whose state is known."""

    name: str
    offline: int
    of: int


class ScoredShare(NamedTuple):
    """A share and its `z_score`."""

    score: float
    share: Share


def z_score(share: Share, offline: int, of: int) -> float:
    """Return by how many standard errors a share exceeds that of all others; 0 if it does not.

    `offline` and `of` are the numbers of the whole fleet.
    """
    others = of - share.of
    if share.of < MIN_SIZE or others < MIN_SIZE or not 0 < offline < of:
        return 0.0
    excess = share.offline / share.of - (offline - share.offline) / others
    if excess < MIN_EXCESS:
        return 0.0
    parts = 1 / share.of + 1 / others
    mean = offline / of
    return max(0.0, excess - parts / 2) / math.sqrt(mean * (1 - mean) * parts)


def stands_out(score: float, number: int) -> bool:
    """Return whether the highest score of so many groups or types is more than chance."""
    return score > 0 and score**2 >= 9 + 2 * math.log(max(1, number))


def unusual_reason(
    now: Mapping[str, int], before: Mapping[str, int], offline: Mapping[str, int]
) -> Share | None:
    """Return the reason that more of the disconnects have than before, if one stands out.

    `now` and `before` count the clients that went offline in the last hour, and in the day before
    it. `offline` counts those that are offline, which the result is about.
    """
    of = sum(now.values())
    total = of + sum(before.values())
    scored = [
        # The last hour is the part, and what is counted in it are clients with the reason.
        ScoredShare(
            z_score(Share(reason, count, of), count + before.get(reason, 0), total),
            Share(reason, offline.get(reason, 0), sum(offline.values())),
        )
        for reason, count in now.items()
        if reason and count >= MIN_SIZE and offline.get(reason, 0) >= MIN_SIZE
    ]
    score, share = max(scored, default=(0.0, None))
    return share if stands_out(score, len(now)) else None
