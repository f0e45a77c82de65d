"""Which clients are held as flapping: route flap damping (RFC 2439) for connections.

Each connection that ends adds 1 to the penalty of its client, which halves in every half-life. A
client whose penalty exceeds one limit is held until the penalty has decayed to another, lower one.
Its presence stays what it is; only alerts leave it out.

Times are wall-clock seconds since the epoch.
"""

import math
from dataclasses import dataclass
from heapq import nlargest

from presenced.presence.recent_counts import MAX_COUNTED

MAX_HALF_LIVES = 4
"""For how many half-lives a client is held at most after its last flap (RFC 2439 section 4.2)."""

_ROUNDING = 1.0


@dataclass(frozen=True, slots=True)
class DampingRules:
    """The limits, as penalties; `half_life` is in seconds.

    `suppress_after` must be above `reuse_below` and below `ceiling`.
    """

    half_life: float = 900.0
    suppress_after: float = 3.0
    reuse_below: float = 0.75

    @property
    def ceiling(self) -> float:
        """The highest penalty: it decays to `reuse_below` within `MAX_HALF_LIVES`."""
        return self.reuse_below * 2.0**MAX_HALF_LIVES


class Damping:
    """The penalties of at most `limit` clients: if there are more, the lower half is dropped.

    A queue without order may deliver an event long after later ones. It counts at the latest time
    so far, which goes back only when the penalties are read.
    """

    def __init__(self, rules: DampingRules, limit: int = MAX_COUNTED) -> None:
        self._rules = rules
        self._limit = limit
        # When each penalty has decayed to `reuse_below`. All decay alike, so that the order of
        # these times is the order of the penalties.
        self._reusable_at: dict[str, float] = {}
        self._held: set[str] = set()
        self._latest = 0.0

    def __len__(self) -> int:
        return len(self._reusable_at)

    def use(self, rules: DampingRules, now: float) -> None:
        """Replace the rules; the penalties stay."""
        self._latest = now
        penalties = {client_id: self.penalty(client_id, now) for client_id in self._reusable_at}
        held = {client_id for client_id in self._held if self._is_held(client_id, now)}
        self._rules, self._reusable_at, self._held = rules, {}, set()
        for client_id, penalty in penalties.items():
            self._set(client_id, penalty, now)
            if penalty > rules.reuse_below and client_id in held:
                self._held.add(client_id)

    def add(self, client_id: str, at: float, now: float) -> None:
        """Add 1 to the penalty of a client whose connection ended `at` a time, and its decay.

        `now` is when that was received.
        """
        self._latest = now = max(now, self._latest)
        if not self._is_held(client_id, now):
            self._held.discard(client_id)
        added = 2.0 ** min((at - now) / self._rules.half_life, 0.0)
        self._set(client_id, self.penalty(client_id, now) + added, now)
        if len(self._reusable_at) > self._limit:
            self._drop_lowest()

    def remove(self, client_id: str) -> None:
        """Drop the penalty of a client."""
        self._reusable_at.pop(client_id, None)
        self._held.discard(client_id)

    def penalty(self, client_id: str, now: float) -> float:
        """Return the penalty of a client."""
        reusable_at = self._reusable_at.get(client_id)
        if reusable_at is None:
            return 0.0
        half_life = self._rules.half_life
        if reusable_at - now > MAX_HALF_LIVES * half_life + _ROUNDING:
            return 0.0  # of before the clock was set back
        half_lives = min((reusable_at - now) / half_life, MAX_HALF_LIVES)
        return float(self._rules.reuse_below * 2.0**half_lives)

    def held_until(self, client_id: str, now: float) -> float | None:
        """Return until when a client is held if it does not flap again; None if it is not held."""
        self._latest = now
        return self._reusable_at[client_id] if self._is_held(client_id, now) else None

    def held(self, now: float) -> list[str]:
        """Return the clients that are held, those with the highest penalties first."""
        self._latest = now
        self._held = {client_id for client_id in self._held if self._is_held(client_id, now)}
        return sorted(self._held, key=self._reusable_at.__getitem__, reverse=True)

    def _is_held(self, client_id: str, now: float) -> bool:
        if client_id not in self._held:
            return False
        # More is left only if the clock was set back.
        longest = MAX_HALF_LIVES * self._rules.half_life + _ROUNDING
        return 0.0 < self._reusable_at[client_id] - now <= longest

    def _set(self, client_id: str, penalty: float, now: float) -> None:
        if penalty <= 0.0:  # so long ago that a number cannot tell it from nothing
            return
        rules = self._rules
        penalty = min(penalty, rules.ceiling)
        self._reusable_at[client_id] = now + rules.half_life * math.log2(
            penalty / rules.reuse_below
        )
        if penalty > rules.suppress_after:
            self._held.add(client_id)

    def _drop_lowest(self) -> None:
        kept = nlargest(self._limit // 2, self._reusable_at.items(), key=lambda each: each[1])
        self._reusable_at = dict(kept)
        self._held &= self._reusable_at.keys()
