"""`python -m benchmarks.lost_events [--histories N]`: clients in a wrong state if events are lost.

Random histories of clients with flaps, takeovers noticed late and absences. Of their events a share
is lost, the others come late, twice and in any order. Each history is played three times: with
events alone, with a settling snapshot of an index that lags, and with lookups as well.
"""

import argparse
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from presenced.events.model import LifecycleEvent
from presenced.presence import OrderingRules, Presence, PresenceRules, State
from presenced.presence.lookups import LookupBudget
from presenced.presence.record import Row

T = 120.0
LAG = 60.0
START = 1_700_000_000.0
_RULES = PresenceRules(ordering=OrderingRules(timestamp_accuracy=round(T * 1000)))
_PAUSES = (0.001, 1.0, 30.0, 200.0, 1000.0, 7200.0)


class History(NamedTuple):
    """What a client did: events as (received, event), and (since, connected) in true order."""

    deliveries: list[tuple[float, LifecycleEvent]]
    states: list[tuple[float, bool]]
    end: float


def history(random: Random, lost: float) -> History:
    """Return a random history; every event is lost with the probability `lost`."""
    now, version, session = START, 0, 0
    deliveries: list[tuple[float, LifecycleEvent]] = []
    states: list[tuple[float, bool]] = []

    def publish(at: float, reason: str | None = None) -> None:
        event = LifecycleEvent(
            type="disconnected" if reason else "connected",
            client_id="client",
            connected=reason is None,
            timestamp=round((at + random.uniform(-T, T)) * 1000),
            version=version,
            session=f"s{session}",
            reason=reason,
        )
        if random.random() >= lost:
            delays = [random.choice((0.1, 1.0, 300.0)) for _ in range(random.choice((1, 1, 1, 2)))]
            deliveries.extend((at + delay * random.random(), event) for delay in delays)

    for left in reversed(range(random.randint(1, 5))):
        publish(now)
        states.append((now, True))
        now += random.choice(_PAUSES) * random.random() + 0.001
        if left == 0 and random.random() < 0.5:
            break
        if left and random.random() < 0.4:
            publish(now + random.choice((0.0, 1.0, 1800.0)), "DUPLICATE_CLIENTID")
        else:
            publish(now, "CONNECTION_LOST")
            states.append((now, False))
            now += random.choice(_PAUSES) * random.random() + 0.001
        version += random.randint(1, 3)
        session += random.randint(0, 1)
    deliveries.sort(key=lambda each: each[0])
    last = deliveries[-1][0] if deliveries else now
    return History(deliveries, states, max(now, last))


class Replay:
    """Plays a history; AWS answers lookups with the truth, if `asks`."""

    def __init__(self, played: History, *, asks: bool) -> None:
        self.presence = Presence(_RULES)
        self.presence.lookups.use("always", LookupBudget(1000.0) if asks else None)
        self.now = START
        self._history = played
        for at, event in played.deliveries:
            self.advance(at)
            self.presence.apply(event, self.now, self.now)

    def advance(self, to: float) -> None:
        """Fire deadlines until a time, and answer each lookup."""
        deadlines = self.presence.deadlines
        while (due := deadlines.next) is not None and due <= to:
            self.now = max(self.now, due)
            for _ in self.presence.fire(self.now, 0.0):
                pass
            self._answer()
        self.now = max(self.now, to)
        self._answer()

    def take_snapshot(self, lag: float) -> None:
        """Merge a settling row of an index that lags, and answer what it leads to."""
        self._merge(self.now - lag, is_answer=False)
        self._answer()

    @property
    def is_wrong(self) -> bool:
        """Whether the state is not the true one; a pending client counts as online."""
        client = self.presence.clients.get("client")
        online = client is not None and client.state in (State.ONLINE, State.PENDING)
        return online != self._history.states[-1][1]

    def _answer(self) -> None:
        for _ in self.presence.lookups.take(self.now):
            self._merge(self.now, is_answer=True)

    def _merge(self, seen: float, *, is_answer: bool) -> None:
        past = [state for state in self._history.states if state[0] <= seen]
        if past:
            since, connected = past[-1]
            row = Row(
                "client",
                connected,
                round(since * 1000),
                self.now,
                self.presence.gap_epoch,
                "GetThingConnectivityData" if is_answer else "SearchIndex",
                is_answer=is_answer,
            )
            self.presence.record.merge(row, self.now)


def wrong(number: int, lost: float, seed: int = 1) -> Sequence[int]:
    """Return how many of `number` clients end wrong: by events, with snapshot, with lookups too."""
    random = Random(seed)
    found = [0, 0, 0]
    for _ in range(number):
        played, lag = history(random, lost), random.uniform(0, LAG)
        for way, (snapshot, asks) in enumerate(((False, False), (True, False), (True, True))):
            replay = Replay(played, asks=asks)
            replay.advance(played.end + LAG)
            replay.presence.note_gap(replay.now)
            replay.advance(replay.now + T)
            if snapshot:
                replay.take_snapshot(lag)
            replay.advance(replay.now + 100)
            found[way] += replay.is_wrong
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--lost", type=float, default=0.15, help="share of events lost (0.15)")
    options = parser.parse_args()
    names = ("events alone", "and a settling snapshot", "and lookups")
    for name, number in zip(names, wrong(options.histories, options.lost), strict=True):
        print(f"{name}: {number} of {options.histories} clients in a wrong state")


if __name__ == "__main__":
    main()
