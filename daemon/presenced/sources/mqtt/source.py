"""MQTT connections as the source of events: what they carry, and what may be missing of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from presenced.pipeline import Batch
from presenced.settings import Settings
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connections import Connections
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.subscriptions import CONNECTS, DISCONNECTS, carries
from presenced.sources.mqtt.traffic import Traffic
from presenced.sources.source import SourceFiles
from presenced.system.loop import Clocks
from presenced.system.supervision import Unreceived


class MqttSource:
    """All MQTT connections; a source, and an observer of the pipeline.

    `unacknowledged_since` returns when the oldest message arrived that waits for its
    acknowledgement, in monotonic seconds; after `stalled_after` seconds the broker may have stopped
    sending.
    """

    def __init__(
        self,
        inbox: Inbox,
        gap_detector: GapDetector,
        unacknowledged_since: Callable[[], float | None],
        clocks: Clocks,
        *,
        stalled_after: float = 0.5,
    ) -> None:
        self._inbox = inbox
        self._gap_detector = gap_detector
        self._unacknowledged_since = unacknowledged_since
        self._clocks = clocks
        self._stalled_after = stalled_after
        self._connections = Connections(inbox, gap_detector)
        self._status_filters: frozenset[str] = frozenset()

    @property
    def started(self) -> bool:
        """Whether the connections are being made."""
        return bool(self.statuses)

    @property
    def statuses(self) -> Sequence[ConnectionStatus]:
        """The status of each connection."""
        return self._connections.statuses

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        """What came over each connection, by client ID."""
        return self._connections.traffic

    @property
    def may_show(self) -> bool:
        """Whether its fleet may be shown now: always."""
        return True

    @property
    def problems(self) -> list[str]:
        """Why connections are not ready, one text each, or which are still catching up."""
        problems = self._connections.problems
        if not problems and (catching_up := self._gap_detector.catching_up):
            return [f"catching up with messages queued meanwhile: {', '.join(catching_up)}"]
        return problems

    @property
    def catching_up(self) -> bool:
        """Whether every connection is ready, but messages that were queued are still coming."""
        return not self._connections.problems and bool(self._gap_detector.catching_up)

    @property
    def unreceived(self) -> Unreceived | None:
        """What is not received while other filters are; None if that is nothing, or everything."""
        found = unreceived_of(self.statuses, self._status_filters)
        detector = self._gap_detector
        return found and found._replace(
            is_behind=bool(detector.catching_up), holds=detector.held_at < math.inf
        )

    @property
    def missing_since(self) -> float | None:
        """From when on messages about clients have not arrived; see `GapDetector`."""
        return self._gap_detector.missing_since

    @property
    def warnings(self) -> list[str]:
        """Filters whose events come at QoS 0 though QoS 1 was requested, one text each."""
        return self._gap_detector.warnings

    @property
    def summary(self) -> str:
        """The state of the connections in a few words."""
        return summary_of(self.statuses)

    def observe(self, batch: Batch) -> None:
        """Count the messages of each connection, and note those that were queued."""
        self._gap_detector.observe(batch)
        self._connections.observe(batch)

    async def use(self, settings: Settings, files: SourceFiles) -> int:
        """Run exactly the connections of the settings; return how many were started."""
        mqtt = settings.mqtt_source
        if mqtt is None:
            return 0
        self._connections.expect(mqtt.client_ids, mqtt.message_rate_limit)
        self._gap_detector.expect(files.connections)
        of_status = (each.status_filters for each in files.connections)
        self._status_filters = frozenset(chain.from_iterable(of_status))
        return await self._connections.use(mqtt.transport, files.connections)

    async def renew(self) -> int:
        """Use certificate files that have changed; return how many connections reconnected."""
        return await self._connections.renew()

    def check(self) -> None:
        """Check for messages that may have been missed, and for the end of catching up."""
        now = self._clocks.monotonic()
        unacknowledged = self._unacknowledged_since()
        if unacknowledged is None:
            unacknowledged = now
        elif now - unacknowledged >= self._stalled_after:
            self._gap_detector.hold_back(unacknowledged)
        oldest = min(unacknowledged, self._inbox.oldest or now)
        stalled = now - oldest >= self._stalled_after
        self._gap_detector.check(self.statuses, self.traffic, stalled=stalled)

    async def stop(self) -> None:
        """Disconnect all within 3 seconds."""
        await self._connections.stop()


def unreceived_of(
    statuses: Sequence[ConnectionStatus], status_filters: AbstractSet[str]
) -> Unreceived | None:
    """Return what is not received while other filters are; None if that is nothing, or everything.

    `status_filters` are those of the filters that status messages match.
    """
    missing = dict.fromkeys(each for status in statuses for each in status.unreceived)
    received = {
        each for status in statuses for each in {*status.filters}.difference(status.unreceived)
    }
    if not missing or not received:
        return None
    of_status = not status_filters.isdisjoint(missing)
    return Unreceived(
        # Connections divide the messages of a shared filter.
        [f"a part of {each}" if each in received else each for each in missing],
        connects=of_status or carries([*missing], CONNECTS),
        disconnects=of_status or carries([*missing], DISCONNECTS),
    )


def summary_of(statuses: Sequence[ConnectionStatus]) -> str:
    """Return the state of connections in a few words, as `systemctl status` shows it."""
    problems = [f"{each.client_id}: {each.problem}" for each in statuses if each.problem]
    if not statuses:
        return "starting"
    if not problems:
        count = f"by {len(statuses)} connections " if len(statuses) > 1 else ""
        return f"connected {count}to {statuses[0].endpoint}"
    if len(problems) == len(statuses):
        return f"not connected: {'; '.join(problems)}"
    up = len(statuses) - len(problems)
    return f"{up} of {len(statuses)} connections up: {'; '.join(problems)}"
