"""The lookups that presence wants: before clients go offline, and where AWS's record contradicts.

Presence adds them here. `aws/lookups.py` takes them, asks AWS, and passes the answers to
`RecordMerger.merge`. A lookup before a client goes offline is urgent. It is wanted only if the
budget allows it soon enough, and the client goes offline if no answer comes in time.
"""

from collections.abc import Collection
from enum import Enum
from typing import Literal

from presenced.presence.client import Client

VerifyOffline = Literal["always", "unverified", "never"]
"""Which clients are looked up before they go offline."""

LOOKUP_TIMEOUT = 2.0
"""How long a client waits for its lookup before it goes offline, in seconds."""

LONGEST_QUEUE = 1.5
"""The part of that time, in seconds, for which a lookup may wait for the budget.

The rest is left for the answer.
"""


class OfflineDecision(Enum):
    """What a client must do at the end of its offline delay."""

    GO_OFFLINE = "go_offline"
    WAIT = "wait"
    """A lookup has been asked for."""
    GO_OFFLINE_UNVERIFIED = "go_offline_unverified"
    """A lookup was due, but the budget was used up or no answer came in time."""


class LookupBudget:
    """How many lookups may be made: `per_second` of them, and as many at once.

    Fleets may share one: the partitions of a worker do. The clock is an argument, in monotonic
    seconds.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second
        self._at = 0.0
        self._urgent: dict[int, Collection[str]] = {}

    def use_rate(self, per_second: float) -> None:
        """Allow so many a second from now on."""
        self._per_second = per_second

    def add(self, urgent: Collection[str]) -> None:
        """Let the urgent lookups of one more fleet wait for it."""
        self._urgent[id(urgent)] = urgent

    def remove(self, urgent: Collection[str]) -> None:
        """Let the urgent lookups of a fleet no longer wait for it."""
        self._urgent.pop(id(urgent), None)

    @property
    def reserve(self) -> float:
        """The part of the budget that lookups which can wait leave to the others."""
        return min(self._per_second / 2, max(self._per_second - 1, 0.0))

    def take(self, now: float, *, leave: float = 0.0) -> bool:
        """Take one lookup and leave so many; return False if the budget does not allow it."""
        self._refill(now)
        if self._left < 1 + leave:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return one lookup that was taken and not made."""
        self._left += 1

    def allows_one_more(self, now: float, *, within: float) -> bool:
        """Return whether it allows all urgent lookups, and one more, within so many seconds."""
        self._refill(now)
        waiting = sum(map(len, self._urgent.values()))
        return self._left + within * self._per_second >= waiting + 1

    def _refill(self, now: float) -> None:
        if now > self._at:
            gained = (now - self._at) * self._per_second
            self._left = min(max(self._per_second, 1.0), self._left + gained)
            self._at = now


class Lookups:
    """Client IDs to look up. Without `use`, none is wanted."""

    def __init__(self) -> None:
        self._mode: VerifyOffline = "never"
        self._budget: LookupBudget | None = None
        # Dictionaries as ordered sets: a client that is wanted twice is looked up once.
        self._urgent: dict[str, None] = {}
        self._wanted: dict[str, None] = {}
        self._awaited: set[str] = set()

    def use(self, mode: VerifyOffline, budget: LookupBudget | None) -> None:
        """Set which clients are looked up and the budget; None disables lookups."""
        if self._budget is not None:
            self._budget.remove(self._urgent)
        self._mode, self._budget = mode, budget
        if budget is not None:
            budget.add(self._urgent)
        else:
            for waiting in (self._urgent, self._wanted, self._awaited):
                waiting.clear()

    @property
    def are_made(self) -> bool:
        """Whether AWS is asked before clients go offline."""
        return self._budget is not None and self._mode != "never"

    def before_offline(self, client: Client, now: float, *, verified: bool) -> OfflineDecision:
        """Return what to do with a client at the end of its offline delay."""
        client_id = client.client_id
        if client_id in self._awaited:
            self._awaited.discard(client_id)
            self._urgent.pop(client_id, None)
            return OfflineDecision.GO_OFFLINE_UNVERIFIED
        if self._budget is None or self._mode == "never":
            return OfflineDecision.GO_OFFLINE
        if self._mode == "unverified" and verified:
            return OfflineDecision.GO_OFFLINE
        if not self._budget.allows_one_more(now, within=LONGEST_QUEUE):
            return OfflineDecision.GO_OFFLINE_UNVERIFIED
        self._awaited.add(client_id)
        self._urgent[client_id] = None
        return OfflineDecision.WAIT

    def want(self, client_id: str) -> None:
        """Ask for a lookup that may wait."""
        if self._budget is not None:
            self._wanted[client_id] = None

    def settle(self, client_id: str) -> bool:
        """Forget a lookup; return whether its client was waiting for it to go offline or not."""
        self._urgent.pop(client_id, None)
        self._wanted.pop(client_id, None)
        if client_id not in self._awaited:
            return False
        self._awaited.discard(client_id)
        return True

    def is_awaited(self, client_id: str) -> bool:
        """Return whether a client waits for its lookup to go offline or not."""
        return client_id in self._awaited

    def __bool__(self) -> bool:
        """Whether any lookup is wanted that has not been taken."""
        return bool(self._urgent or self._wanted)

    def take(self, now: float) -> list[str]:
        """Remove and return the lookups to be made now: the urgent ones first.

        Those that can wait leave half of the budget to clients that are about to go offline.
        """
        budget = self._budget
        if budget is None:
            return []
        taken = []
        while self._urgent and budget.take(now):
            taken.append(_pop_first(self._urgent))
        while self._wanted and not self._urgent and budget.take(now, leave=budget.reserve):
            taken.append(_pop_first(self._wanted))
        return taken

    def put_back(self, client_id: str) -> None:
        """Want a lookup again that was taken and could not be made."""
        if self._budget is None:
            return
        self._budget.give_back()
        queue = self._urgent if client_id in self._awaited else self._wanted
        queue[client_id] = None


def _pop_first(queue: dict[str, None]) -> str:
    client_id = next(iter(queue))
    del queue[client_id]
    return client_id
