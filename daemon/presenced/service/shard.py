"""The fleet, or the part of it in a partition of Kafka, and what counts and shows its clients."""

from collections.abc import Callable

from presenced.fleet import Partition
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources
from presenced.pipeline import Pipeline
from presenced.service.build import (
    client_filter,
    damping_rules,
    new_fleet,
    presence_rules,
    status_topics,
)
from presenced.service.delivery import Delivery, Store
from presenced.settings import Settings
from presenced.settings.values import format_duration
from presenced.sources.gaps import Gaps
from presenced.sources.inbox import InboxTurns
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.system.loop import Clocks

_AHEAD_SHOWN_FOR = 600.0


class Shard:
    """One fleet and its pipeline; `delivery` is there after `deliver`.

    `sources` are those of its metrics. `snapshots` are those of its partition, if it has one.
    """

    delivery: Delivery

    def __init__(
        self, settings: Settings, clocks: Clocks, partition: Partition | None = None
    ) -> None:
        self.partition = partition
        parts = partition.of if partition else 1
        self.fleet = new_fleet(settings, parts)
        self.snapshots = None if partition is None else PartitionSnapshots(self.fleet, partition)
        topics = status_topics(settings.presence)
        self.pipeline = Pipeline(
            self.fleet, snapshots=self.snapshots, status_topics=topics, parts=parts
        )
        self.pipeline.flapping.use_damping(damping_rules(settings.presence), clocks.wall())
        if self.snapshots is not None:
            self.pipeline.observers.append(self.snapshots)
        self.gaps = Gaps(self.fleet.presence, clocks)
        self.clients = ClientMetrics(self.fleet, settings.metrics, partition)
        self.sources = FleetSources(
            self.pipeline, self.clients, self.gaps.counts, partition=partition, clock=clocks.wall
        )
        self._clocks = clocks
        self._settings = settings

    def deliver(
        self,
        held_at: Callable[[], float],
        store: Store | None,
        turns: InboxTurns | None = None,
    ) -> None:
        """Take messages from now on; the arguments are those of `Delivery`."""
        self.delivery = Delivery(
            self.pipeline,
            held_at,
            store,
            self._clocks,
            in_order=self.partition is not None,
            turns=turns,
        )
        self.sources.inbox = self.delivery.inbox

    @property
    def warnings(self) -> list[str]:
        """What is wrong with its events, for people."""
        last = self.pipeline.counts.last_ahead
        if last is None or self._clocks.monotonic() - last[0] > _AHEAD_SHOWN_FOR:
            return []
        text = (
            f"an event of the last {format_duration(_AHEAD_SHOWN_FOR)} was dated"
            f" {format_duration(round(last[1]))} ahead of the clock of this machine. If most are,"
            " the clock is behind, as are all times: run timedatectl and correct the clock"
        )
        return [text]

    def use(self, settings: Settings) -> None:
        """Go on with other settings; the clients stay."""
        before, self._settings = self._settings, settings
        self.fleet.presence.use_rules(presence_rules(settings.presence))
        if settings.presence.damping != before.presence.damping:
            rules = damping_rules(settings.presence)
            self.pipeline.flapping.use_damping(rules, self._clocks.wall())
        if settings.presence.clients != before.presence.clients:
            self.clients.use(settings.metrics)
        if settings.presence.status_topics != before.presence.status_topics:
            self.pipeline.use_status_topics(status_topics(settings.presence))
        if settings.presence.thing_pattern != before.presence.thing_pattern:
            self.pipeline.use_thing_pattern(settings.presence.thing_pattern)
        if _left_out(settings) != _left_out(before):
            self.pipeline.use_filter(client_filter(settings))


def _left_out(settings: Settings) -> tuple[object, ...]:
    mqtt = settings.mqtt
    return settings.presence.ignore_clients, mqtt.client_ids if mqtt else ()
