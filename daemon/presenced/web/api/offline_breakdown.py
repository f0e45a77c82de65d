"""Which reasons, thing types and thing groups offline clients have, and what stands out."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from statistics import median_low
from typing import Literal, NamedTuple

from presenced.presence import Client, State, Transition
from presenced.presence.counts import StateCounts, reason_key
from presenced.recent.activity import RecentActivity
from presenced.recent.mass_events import MassEvent
from presenced.recent.standout import ScoredShare, Share, stands_out, unusual_reason, z_score
from presenced.system.loop import Clocks, CooperativeScheduler, TimeSlice
from presenced.web.api.parts import FleetPart, FleetParts

MAX_SHARES = 20
_MAX_MEMBERS = 5000
_MAX_AGE = 1.0
_HOUR, _DAY = 3600.0, 86400.0
_OFFLINE = State.OFFLINE

Kind = Literal["thing_group", "thing_type", "reason"]


class Standout(NamedTuple):
    """What stands out; `since` is in seconds since the epoch, None if it is too long ago."""

    kind: Kind
    share: Share
    since: float | None = None
    reason: str | None = None


class Breakdown(NamedTuple):
    """The worst types and groups, and what stands out."""

    types: Sequence[Share]
    groups: Sequence[Share]
    standout: Standout | None


class OfflineBreakdown:
    """Answers from totals, which are those of all `parts` together.

    Only types and groups are walked over, in slices of `scheduler`; the result is used for a
    second.
    """

    def __init__(
        self,
        parts: FleetParts,
        activity: RecentActivity,
        clocks: Clocks,
        scheduler: CooperativeScheduler,
    ) -> None:
        self._parts = parts
        self._activity = activity
        self._clocks = clocks
        self._scheduler = scheduler
        self._lock = asyncio.Lock()
        self._made_of: tuple[object, ...] = ()
        self._made_at = 0.0
        self._last: Breakdown | None = None

    def by_reason(self) -> dict[str, int]:
        """Return how many clients are offline for each reason, most first."""
        total: Counter[str] = Counter()
        for part in self._parts:
            total.update(part.fleet.presence.counts.offline_by_reason)
        return dict((+total).most_common())

    async def get(self) -> Breakdown:
        """Return the breakdown of now, or of at most a second ago."""
        async with self._lock:
            parts, now = list(self._parts), self._clocks.monotonic()
            made_of = tuple(id(part) for part in parts)
            if self._last is None or made_of != self._made_of or now - self._made_at >= _MAX_AGE:
                async with self._scheduler.turn() as turn:
                    self._last = await self._make(parts, turn)
                self._made_of, self._made_at = made_of, now
            return self._last

    async def _make(self, parts: Sequence[FleetPart], turn: TimeSlice) -> Breakdown:
        states = [part.fleet.thing_counts.states for part in parts]
        offline = sum(each[_OFFLINE] for each in states)
        of = sum(sum(each.values()) - each[State.UNKNOWN] for each in states)
        found: list[tuple[float, Kind, Share]] = []
        worst: list[list[Share]] = []
        number = 0
        kinds: tuple[tuple[Kind, list[StateCounts]], ...] = (
            ("thing_type", [part.fleet.thing_counts.types for part in parts]),
            ("thing_group", [part.fleet.thing_counts.groups for part in parts]),
        )
        for kind, counts in kinds:
            scored, walked = await _scored(counts, offline, of, turn)
            number += walked
            worst.append([each.share for each in scored])
            found += [(score, kind, share) for score, share in scored[:1]]
        score, highest, share = max(found, default=(0.0, None, None))
        standout = None
        if highest is not None and share is not None and stands_out(score, number):
            standout = Standout(highest, share)
        elif (reason := self._unusual_reason(self.by_reason())) is not None:
            standout = Standout("reason", reason)
        if standout is not None:
            standout = await self._dated(standout, parts, turn)
        return Breakdown(worst[0], worst[1], standout)

    def _unusual_reason(self, by_reason: Mapping[str, int]) -> Share | None:
        trend, now = self._activity.trend, self._clocks.wall()
        recent = trend.reasons(now - _HOUR, now)
        return unusual_reason(recent, trend.reasons(now - _HOUR - _DAY, now - _HOUR), by_reason)

    async def _dated(
        self, standout: Standout, parts: Sequence[FleetPart], turn: TimeSlice
    ) -> Standout:
        """Find out since when, and for which reason.

        From a mass event of the last hours, else from the clients of a group, else from what else
        happened in the last hours.
        """
        fleet = _Members(parts, standout)
        for event in self._activity.mass_events:
            if 2 * fleet.count(event) >= standout.share.offline and fleet.lasts(event):
                reason = max(event.reasons, key=event.reasons.__getitem__, default=None)
                return standout._replace(since=event.first, reason=reason or None)
        found = fleet.offline() or await self._went_offline(fleet, standout.share.offline, turn)
        since = median_low([each for each, _ in found]) if found else None
        reasons = Counter(reason_key(reason) for _, reason in found)
        return standout._replace(
            since=since if 2 * len(found) >= standout.share.offline else None,
            reason=reasons.most_common(1)[0][0] or None if reasons else None,
        )

    async def _went_offline(
        self, fleet: "_Members", limit: int, turn: TimeSlice
    ) -> list[tuple[float, str | None]]:
        found: list[tuple[float, str | None]] = []
        for _, transition in list(self._activity.transitions):
            if len(found) >= limit:
                break
            if fleet.has(transition):
                found.append((transition.since, transition.reason))
            await turn.yield_if_due()
        return found


class _Members:
    """The clients that something which stands out is about."""

    def __init__(self, parts: Sequence[FleetPart], standout: Standout) -> None:
        self._parts = parts
        self._kind, self._name = standout.kind, standout.share.name

    def count(self, event: MassEvent) -> int:
        """Return how many of a mass event went offline."""
        if event.state is not _OFFLINE:
            return 0
        if self._kind == "reason":
            return event.reasons.get(self._name, 0)
        counts = event.counts(self._parts[0].fleet.inventory.with_ancestors)
        names = counts.thing_types if self._kind == "thing_type" else counts.thing_groups
        return names.get(self._name, 0)

    def lasts(self, event: MassEvent) -> bool:
        """Return whether most clients of a mass event are still offline, as far as it names any."""
        found = [self._find(client_id) for client_id in event.clients]
        offline = sum(each is not None and each[1].state is _OFFLINE for each in found)
        return 2 * offline >= len(found)

    def has(self, transition: Transition) -> bool:
        """Return whether a transition made one of them offline, as it still is."""
        if transition.state is not _OFFLINE:
            return False
        if self._kind == "reason" and reason_key(transition.reason) != self._name:
            return False
        found = self._find(transition.client_id)
        if found is None or found[1].state is not _OFFLINE:
            return False
        part, client = found
        if client.transition != transition.since:
            return False
        thing = part.fleet.inventory.things.live.get(client.thing)
        if self._kind == "thing_type":
            return thing is not None and thing.type == self._name
        return self._kind == "reason" or part.fleet.is_in_group(client, self._name)

    def offline(self) -> list[tuple[float, str | None]]:
        """Return since when and why the clients of a group are offline, of a large one of some."""
        if self._kind != "thing_group":
            return []
        return [
            (client.since, client.reason)
            for part in self._parts
            for client in part.fleet.clients_in_group(self._name, _MAX_MEMBERS)
            if client.state is _OFFLINE and client.since is not None
        ]

    def _find(self, client_id: str) -> tuple[FleetPart, Client] | None:
        for part in self._parts:
            client = part.fleet.presence.clients.get(client_id)
            if client is not None:
                return part, client
        return None


async def _scored(
    counts: Sequence[StateCounts], offline: int, of: int, turn: TimeSlice
) -> tuple[list[ScoredShare], int]:
    """Return the worst shares, by score and then by number, and how many there are at all."""
    names = (
        counts[0].names if len(counts) == 1 else list({n for each in counts for n in each.names})
    )
    worst: list[ScoredShare] = []
    for batch in _batches(names):
        scored = []
        for name in batch:
            numbers = [each.offline_of(name) for each in counts]
            share = Share(name, sum(n for n, _ in numbers), sum(n for _, n in numbers))
            if share.offline:
                scored.append(ScoredShare(z_score(share, offline, of), share))
        worst = nlargest(MAX_SHARES, [*worst, *scored], key=_rank)
        await turn.yield_if_due()
    return worst, len(names)


def _rank(scored: ScoredShare) -> tuple[float, int, str]:
    return scored.score, scored.share.offline, scored.share.name


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + 500] for start in range(0, len(names), 500))
