"""Which clients flap, fight over a client ID, or are refused: counts of an hour, and damping."""

from collections.abc import Callable
from heapq import nlargest

from presenced.events.model import ConnectFailedEvent
from presenced.fleet import Fleet
from presenced.pipeline.batch import Batch
from presenced.presence.damping import Damping, DampingRules
from presenced.presence.recent_counts import MAX_COUNTED, Counts, RecentCounts

SHORT_SESSION = 60.0
"""A connection that lasted less than so many seconds, by event times, is a short session."""

MAX_SHOWN, LEAST_SHOWN = 50, 3
"""How many clients metrics and API show as the worst ones of a kind, and from which number on."""


class FlapDetector:
    """Counts the connections of each client that ended or were refused.

    It observes its pipeline, which reports refused connects by `note_refused`: a client that was
    refused need not be known.

    `parts` is how many parts the fleet has, of which this is one: each has an equal share of the
    clients with counts. `damping` is None if it is off. All of it is kept in memory only.
    """

    def __init__(self, fleet: Fleet, parts: int = 1) -> None:
        self.fleet = fleet
        self._limit = -(-MAX_COUNTED // parts)
        self.recent = RecentCounts(self._limit)
        self.damping: Damping | None = None

    def use_damping(self, rules: DampingRules | None, now: float) -> None:
        """Replace the rules at a wall-clock time; None turns damping off.

        Penalties are kept unless it is off.
        """
        if rules is None:
            self.damping = None
        elif self.damping is None:
            self.damping = Damping(rules, self._limit)
        else:
            self.damping.use(rules, now)

    def observe(self, batch: Batch) -> None:
        """Count the connections that ended, and drop clients that were forgotten."""
        for change in batch.changes.clients:
            ended = change.ended
            if ended is not None:
                if change.after is None:
                    continue
                client_id = change.client.client_id
                short = ended.seconds is not None and ended.seconds < SHORT_SESSION
                self.recent.count(
                    client_id, ended.at, change.received, takeover=ended.taken_over, short=short
                )
                if self.damping is not None:
                    self.damping.add(client_id, ended.at, change.received)
            elif change.after is None and change.before is not None:
                self.recent.remove(change.client.client_id)
                if self.damping is not None:
                    self.damping.remove(change.client.client_id)

    def note_refused(self, event: ConnectFailedEvent, received: float) -> None:
        """Count that a connect was refused, received at a wall-clock time."""
        at = received if event.timestamp is None else event.timestamp / 1000
        self.recent.count_refused(event.client_id, at, received)

    def held_until(self, client_id: str, now: float) -> float | None:
        """Return until when a client is held as flapping; None if it is not."""
        return None if self.damping is None else self.damping.held_until(client_id, now)

    def worst(self, now: float, number_of: Callable[[Counts], int]) -> list[tuple[int, str]]:
        """Return the clients with the highest numbers of a kind, with these, highest first."""
        counts = self.recent.at_least(LEAST_SHOWN, now).items()
        numbers = ((number_of(each), client_id) for client_id, each in counts)
        return nlargest(MAX_SHOWN, (each for each in numbers if each[0] >= LEAST_SHOWN))
