"""The stages of the daemon, composed as the settings say."""

import asyncio
import os
import time
from collections.abc import Callable

from presenced.aws.client import RequestCounts
from presenced.aws.fleet_target import FleetTarget
from presenced.aws.reconciler import Reconciler
from presenced.fleet import Partition
from presenced.metrics.catalog import kept_totals
from presenced.metrics.declaration import MetricSources
from presenced.pipeline import Observer
from presenced.service.partition_fleet import ShardFleet
from presenced.service.shard import Shard
from presenced.service.shards import Shards
from presenced.service.transition_log import TransitionLog
from presenced.service.worker_reconciler import WorkerReconciler
from presenced.settings import Settings
from presenced.sources.inbox import InboxTurns
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.sources.mqtt.source import MqttSource
from presenced.sources.source import SettingsTrial, Source
from presenced.sources.sqs.source import SqsSource
from presenced.store.changelog import Changelog
from presenced.store.file import default_path
from presenced.store.state_store import StateStore
from presenced.system.loop import Clocks
from presenced.system.supervision import Readiness
from presenced.web.api.application import Api, Sources
from presenced.web.api.stream import Hub

_MAX_STREAMS = 32


class Stages:
    """What one daemon consists of. Create it on the event loop; nothing of it runs yet.

    `readiness` returns whether the daemon is ready, for metrics and the API. `max_connections` is
    how many connections the listener may have: streams of the API take a part of them. `store` is
    None without a state file, `reconciler` if AWS is not asked, `api` if it is off, `trial` if the
    source tries no settings before it uses them.
    """

    source: Source

    def __init__(
        self, settings: Settings, readiness: Callable[[], Readiness], max_connections: int
    ) -> None:
        self.store: StateStore | None = None
        self.reconciler: Reconciler | None = None
        self.trial: SettingsTrial | None = None
        self._worker_reconciler: WorkerReconciler | None = None
        self.transitions = TransitionLog()
        self._settings = settings
        self._clocks = Clocks(time.monotonic, time.time)
        self._readiness = readiness
        self.api = self._make_api(max_connections) if settings.metrics.api else None
        self.shards = Shards(
            settings, self._clocks, self.transitions, self.api, lambda: self.source.may_show
        )
        self.metric_sources = MetricSources(
            fleets=self.shards.shown,
            transport=settings.transport,
            partitioned=settings.source == "kafka",
            is_ready=lambda: readiness().ready,
        )
        openers = {"mqtt": self._open_mqtt, "sqs": self._open_sqs, "kafka": self._open_kafka}
        self.source = openers[settings.source]()

    def _make_api(self, max_connections: int) -> Api:
        # Scrapes need connections too.
        hub = Hub(max_subscribers=min(_MAX_STREAMS, max_connections // 2))
        sources = Sources(
            self._clocks,
            self._readiness,
            lambda: self.reconciler,
            lambda: self.source.may_show,
            self._partition_of if self._settings.source == "kafka" else None,
            lambda: self.metric_sources.certificate_expiry,
        )
        return Api(sources, self._settings.metrics, self._settings.history, hub=hub)

    def _open_mqtt(self) -> Source:
        shard = self.shards.open()
        gap_detector = GapDetector(shard.gaps, self._clocks)
        self.store = self._open_store(shard, gap_detector)
        shard.deliver(lambda: gap_detector.held_at, self.store)
        delivery = shard.delivery
        source = MqttSource(
            delivery.inbox, gap_detector, lambda: delivery.unacknowledged_since, self._clocks
        )
        self.metric_sources.mqtt = source
        self._observe(shard, source)
        return source

    def _open_sqs(self) -> Source:
        shard = self.shards.open()
        self.store = self._open_store(shard, None)
        self.metric_sources.aws_requests = requests = RequestCounts({})
        shard.deliver(lambda: source.held_at(), self.store)
        source = SqsSource(
            shard.delivery.inbox,
            requests,
            self._clocks,
            is_deadline_pending=lambda: shard.fleet.presence.deadlines.next is not None,
        )
        self.metric_sources.sqs = source
        self._observe(shard, source)
        return source

    def _open_kafka(self) -> Source:
        # The extra presenced[kafka] is needed only here.
        from presenced.sources.kafka.access import KafkaAccess
        from presenced.sources.kafka.kafka_source import KafkaSource

        self.metric_sources.aws_requests = requests = RequestCounts({})
        turns = InboxTurns(asyncio.get_running_loop())

        def open_partition(partition: Partition, held_at: Callable[[], float]) -> ShardFleet:
            shard = self.shards.open(partition)
            totals, snapshots = kept_totals(shard.sources), shard.snapshots
            store = Changelog(partition.number, shard.pipeline, totals, self._clocks, snapshots)
            placement, shards = source.placement.observer_of(partition), self.shards
            shard.pipeline.observers.append(placement)
            if self._worker_reconciler is not None:
                self._worker_reconciler.open(shard)

            def restored(shard: Shard) -> None:
                shards.add(shard)
                source.placement.check_later(placement, shard.fleet.presence.clients)

            return ShardFleet(shard, store, held_at, turns, restored, self._show, self._drop)

        source = KafkaSource(open_partition, KafkaAccess(requests, self._clocks), self._clocks)
        self.metric_sources.kafka = self.trial = source
        self.metric_sources.state = source.transactions
        if (reconciler := self._make_reconciler()) is not None:
            self._worker_reconciler = WorkerReconciler(reconciler, source, self._clocks)
        return source

    def _show(self, shard: Shard) -> None:
        self.shards.show(shard)
        if self._worker_reconciler is not None:
            self._worker_reconciler.begin(shard)

    def _drop(self, shard: Shard) -> None:
        if self._worker_reconciler is not None:
            self._worker_reconciler.end(shard)
        self.shards.drop(shard)

    def check(self) -> None:
        """Look for gaps, and for what follows from time alone; called four times a second."""
        self.source.check()
        self.shards.arm()
        if self.api is not None:
            self.api.check()
        if self._worker_reconciler is not None:
            self._worker_reconciler.check()

    def _partition_of(self, client_id: str) -> int:
        """Return the partition of Kafka that the events of a client are in."""
        assert self.metric_sources.kafka is not None  # noqa: S101 - the source is Kafka
        return partition_of(client_id.encode(), len(self.metric_sources.kafka.ownership))

    def _observe(self, shard: Shard, source: Observer) -> None:
        """Let all that depends on the only shard observe it."""
        after_all: list[Observer] = [] if self.store is None else [self.store]
        if (reconciler := self._make_reconciler()) is not None:
            target = FleetTarget(shard.fleet, shard.delivery, self._is_up, self._clocks)
            reconciler.take_snapshots(target)
            after_all += [target, reconciler.look_up(shard.fleet, shard.delivery)]
        shard.pipeline.observers.insert(0, source)
        self.shards.show(shard)
        shard.pipeline.observers += after_all

    def _make_reconciler(self) -> Reconciler | None:
        """Return what asks AWS, None if `reconcile` is not enabled."""
        if not self._settings.reconcile.enabled:
            return None
        sources = self.metric_sources
        self.reconciler = Reconciler(self._settings, self._clocks, sources.aws_requests)
        sources.aws_requests, sources.reconciler = self.reconciler.counts, self.reconciler
        return self.reconciler

    def _open_store(self, shard: Shard, gap_detector: GapDetector | None) -> StateStore | None:
        path = self._settings.state.path or default_path(os.environ)
        if path is None:
            return None
        totals, on_error = kept_totals(shard.sources), self._settings.state.on_error
        recent = None if self.api is None else self.api.activity
        store = StateStore(
            path, shard.pipeline, gap_detector, totals, on_error, self._clocks, recent
        )
        self.metric_sources.state = store.counts
        return store

    def _is_up(self) -> bool:
        """Return whether every connection is up, and nothing is left of what was queued."""
        return self.source.started and not self.source.problems
