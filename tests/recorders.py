"""Recording what presence, a fleet or a pipeline changed."""

from collections import Counter
from collections.abc import Iterable

from presenced.pipeline import Batch
from presenced.presence import ClientChange, Presence, State, Transition
from presenced.presence.counts import reason_key


def fire(presence: Presence, now: float, offset: float = 0.0) -> list[ClientChange]:
    """Fire the deadlines that are due, and return what they changed."""
    return [change for change in presence.fire(now, offset) if change is not None]


def pending_deadlines(presence: Presence) -> int:
    """How many deadlines there are; those of offline clients are one in `deadlines`."""
    offline = presence._states.offline
    return len(presence.deadlines) + len(offline) - offline.scheduled


def assert_reasons_are_counted(presence: Presence) -> None:
    """Every client that is offline counts for its reason, and no other one does."""
    offline = [each for each in presence.clients.values() if each.state is State.OFFLINE]
    counted = {name: count for name, count in presence.counts.offline_by_reason.items() if count}
    assert counted == Counter(reason_key(client.reason) for client in offline)


class ChangeRecorder:
    """Transitions, and which clients were forgotten, described or changed in any other way.

    It can be an observer of a pipeline. `counted` is how many clients are in each state, by the
    changes alone.
    """

    def __init__(self) -> None:
        self.transitions: list[Transition] = []
        self.forgotten: list[str] = []
        self.described: list[str] = []
        self.changed: list[str] = []
        self.counted: Counter[State] = Counter()

    def add(self, changes: Iterable[ClientChange | None]) -> None:
        for change in changes:
            if change is not None:
                self._add(change)

    def observe(self, batch: Batch) -> None:
        self.add(batch.changes.clients)

    def _add(self, change: ClientChange) -> None:
        client_id = change.client.client_id
        if change.transition is not None:
            self.transitions.append(change.transition)
        if change.described:
            self.described.append(client_id)
        if change.changed:
            self.changed.append(client_id)
        if change.dropped is not None:
            self.changed.append(change.dropped)
        if change.before is not change.after:
            if change.before is not None:
                self.counted[change.before] -= 1
            if change.after is not None:
                self.counted[change.after] += 1
            else:
                self.forgotten.append(client_id)
