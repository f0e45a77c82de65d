"""What is wrong with a single client, by its counts of the last hour."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from presenced.presence.recent_counts import Counts

FIGHT = 20
"""So many takeovers in an hour suggest two devices with one ID: as `PresencedClientFighting`."""
MANY_REFUSED = 6
"""So many refused connects in an hour are no chance: one every ten minutes."""

TroubleKind = Literal["takeovers", "refused"]


class Trouble(NamedTuple):
    """What is wrong with a client: how often it happened within the last hour, and in words."""

    kind: TroubleKind
    number: int
    text: str


def troubles_of(counts: Counts) -> Iterator[Trouble]:
    """Yield what is wrong with a client, the worse first; nothing of most clients."""
    if counts.takeovers >= FIGHT:
        text = (
            f"taken over {counts.takeovers:,} times in the last hour:"
            " two devices may use this client ID"
        )
        yield Trouble("takeovers", counts.takeovers, text)
    if counts.refused >= MANY_REFUSED:
        text = f"{counts.refused:,} connects refused in the last hour"
        yield Trouble("refused", counts.refused, text)
