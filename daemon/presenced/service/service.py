"""Compose, run, reload and stop the daemon."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from presenced.aws.client import RequestCounts
from presenced.aws.reconciler import Reconciler
from presenced.events.message import Message
from presenced.fleet import Partition
from presenced.metrics.catalog import kept_totals
from presenced.metrics.declaration import MetricSources
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Observer
from presenced.presence import Client
from presenced.service.build import read_source_files
from presenced.service.partition_fleet import ShardFleet
from presenced.service.shard import Shard
from presenced.service.shards import Shards
from presenced.service.status_line import status_line
from presenced.service.transition_log import TransitionLog
from presenced.settings import Problem, Settings, SettingsError
from presenced.settings.certificates import certificate_expiries
from presenced.settings.file_access import FileAccess
from presenced.settings.files import FileSnapshot
from presenced.sources.inbox import InboxTurns
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.sources.mqtt.source import MqttSource
from presenced.sources.source import Source, SourceFiles
from presenced.sources.sqs.source import SqsSource
from presenced.store.changelog import Changelog
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.store.file import default_path
from presenced.store.state_store import StateStore
from presenced.system import log
from presenced.system.loop import Clocks
from presenced.system.supervision import Readiness, Supervision
from presenced.web.api.application import Api, Sources
from presenced.web.api.stream import Hub
from presenced.web.connections import connection_limit
from presenced.web.protection import Protection, ProtectionWatcher, read_protection
from presenced.web.server import Listener

_CHECK_CERTIFICATES_EVERY = 300.0
_CHECK_FOR_GAPS_EVERY = 0.25
# Between the two looks of a reload.
_RELOAD_PAUSE = 0.2
_STORE_ALIVE_EVERY = 10.0
_DISCONNECT_TIMEOUT = 3.5
_MAX_STREAMS = 32
_SERIES_KEYS = (
    "per_client",
    "max_clients",
    "client_id_pattern",
    "thing_attributes",
    "thing_groups",
)


class Service:
    """One daemon, built and run on the event loop.

    `load` reads the settings for a reload, in a thread; it raises SettingsError if they are wrong.
    """

    def __init__(self, settings: Settings, load: Callable[[FileSnapshot], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._log = log.get_logger("presenced")
        self._throttled_log = log.ThrottledLogger(self._log)
        self._files = FileAccess("configuration", pause=_RELOAD_PAUSE)
        self._stopping = False
        self._changing = asyncio.Lock()
        self._reloading: asyncio.Future[list[str]] | None = None
        metrics = settings.metrics
        clocks = Clocks(time.monotonic, time.time)

        self._clocks = clocks
        self._transitions = TransitionLog()
        self._reconciler: Reconciler | None = None
        self._store: StateStore | None = None
        limit = connection_limit()
        self._api: Api | None = None
        if metrics.api:
            # Scrapes need connections too.
            hub = Hub(max_subscribers=min(_MAX_STREAMS, limit // 2))
            sources = Sources(
                clocks,
                self.readiness,
                lambda: self._reconciler,
                lambda: self._source.may_show,
                self._partition_of if settings.source == "kafka" else None,
            )
            self._api = Api(sources, metrics, settings.history, hub=hub)
        self._shards = Shards(
            settings, clocks, self._transitions, self._api, lambda: self._source.may_show
        )
        self._metric_sources = MetricSources(
            fleets=self._shards.shown,
            transport=settings.transport,
            partitioned=settings.source == "kafka",
            is_ready=lambda: self.readiness().ready,
        )
        opened = {"mqtt": self._open_mqtt, "sqs": self._open_sqs, "kafka": self._open_kafka}
        self._source: Source = opened[settings.source](settings)
        self._supervision = Supervision(lambda: self.readiness().ready, self._status)
        self._watcher = ProtectionWatcher(metrics.web_config)
        self._listener = Listener(
            *metrics.listen_address,
            Exposition(self._metric_sources),
            self.readiness,
            watcher=self._watcher,
            health=metrics.health_address,
            reload=self.reload if metrics.enable_reload_endpoint else None,
            api=self._api.application() if self._api else None,
            allowed_hosts=metrics.allowed_hosts,
            max_connections=limit,
        )

    def _open_mqtt(self, settings: Settings) -> Source:
        shard = self._shards.open()
        gap_detector = GapDetector(shard.gaps, self._clocks)
        self._store = self._open_store(settings, shard, gap_detector)
        shard.deliver(lambda: gap_detector.held_at, self._store)
        delivery = shard.delivery
        source = MqttSource(
            delivery.inbox, gap_detector, lambda: delivery.unacknowledged_since, self._clocks
        )
        self._metric_sources.mqtt = source
        self._observe(settings, shard, source)
        return source

    def _open_sqs(self, settings: Settings) -> Source:
        shard = self._shards.open()
        self._store = self._open_store(settings, shard, None)
        self._metric_sources.aws_requests = requests = RequestCounts({})
        shard.deliver(lambda: source.held_at(), self._store)
        source = SqsSource(
            shard.delivery.inbox,
            requests,
            self._clocks,
            is_deadline_pending=lambda: shard.fleet.presence.deadlines.next is not None,
        )
        self._metric_sources.sqs = source
        self._observe(settings, shard, source)
        return source

    def _open_kafka(self, _: Settings) -> Source:
        # The extra presenced[kafka] is needed only here.
        from presenced.sources.kafka.access import KafkaAccess
        from presenced.sources.kafka.kafka_source import KafkaSource

        self._metric_sources.aws_requests = requests = RequestCounts({})
        turns = InboxTurns(asyncio.get_running_loop())

        def open_partition(partition: Partition, held_at: Callable[[], float]) -> ShardFleet:
            shard = self._shards.open(partition)
            totals = kept_totals(shard.sources)
            store = Changelog(partition.number, shard.pipeline, totals, self._clocks)
            placement, shards = source.placement.observer_of(partition), self._shards
            shard.pipeline.observers.append(placement)

            def restored(shard: Shard) -> None:
                shards.add(shard)
                source.placement.check_later(placement, shard.fleet.presence.clients)

            return ShardFleet(shard, store, held_at, turns, restored, shards.show, shards.drop)

        source = KafkaSource(open_partition, KafkaAccess(requests, self._clocks), self._clocks)
        self._metric_sources.kafka = source
        return source

    def _partition_of(self, client_id: str) -> int:
        """Return the partition of Kafka that the events of a client are in."""
        assert self._metric_sources.kafka is not None  # noqa: S101 - the source is Kafka
        return partition_of(client_id.encode(), len(self._metric_sources.kafka.ownership))

    def _observe(self, settings: Settings, shard: Shard, source: Observer) -> None:
        """Let all that depends on the only shard observe it."""
        if settings.reconcile.enabled:
            self._reconciler = Reconciler(
                shard.fleet,
                shard.delivery,
                settings,
                self._is_up,
                self._clocks,
                self._metric_sources.aws_requests,
            )
            self._metric_sources.aws_requests = self._reconciler.counts
            self._metric_sources.snapshots = self._reconciler.snapshots
        shard.pipeline.observers.insert(0, source)
        self._shards.show(shard)
        shard.pipeline.observers += filter(None, (self._store, self._reconciler))

    def _open_store(
        self, settings: Settings, shard: Shard, gap_detector: GapDetector | None
    ) -> StateStore | None:
        path = settings.state.path or default_path(os.environ)
        if path is None:
            return None
        totals, on_error = kept_totals(shard.sources), settings.state.on_error
        store = StateStore(path, shard.pipeline, gap_detector, totals, on_error, self._clocks)
        self._metric_sources.state = store.counts
        return store

    def restore(self, damage: StateDamagedError | None = None) -> None:
        """Take over what an earlier process stored, if there is a state file.

        `damage` is that of a file that has been moved aside. Raises StateError if the file cannot
        or must not be used, StateDamagedError if it was damaged and has been moved aside. Another
        service must then be built in place of this one.
        """
        if self._store is not None:
            self._store.open(damage)
            for shard in self._shards:
                shard.clients.restored()

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep no state, because the state file cannot be used; in place of `restore`."""
        if self._store is not None:
            self._store.run_from_memory(error)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, connect, and serve until `stop` is set; then disconnect cleanly.

        Raises ListenerError if the address of the listener is taken, SettingsError if the password
        file cannot be read. A broker that is down raises nothing: metrics show it.
        """
        settings = self._settings
        files = (
            await self._files.look(lambda snapshot: read_source_files(settings, snapshot))
        ).value
        await self._listener.open()
        self._log_listener()
        self._log_certificate_problems(files.problems)
        if self._store is not None:
            self._store.start()
        watches = [
            asyncio.create_task(self._watcher.watch()),
            asyncio.create_task(self._watch_certificates()),
            asyncio.create_task(self._watch_for_gaps()),
        ]
        try:
            await self._connect(settings, files)
            if self._reconciler is not None:
                self._reconciler.start()
            self._supervision.start()
            await stop.wait()
        finally:
            self._stopping = True
            self._supervision.stop()
            self._log.info("stopping")
            for watch in watches:
                watch.cancel()
            # From here on no message is taken that could not be acknowledged any more.
            self._shards.close()
            await self._disconnect()
            # After a reload that was under way has ended, which could start it again.
            if self._reconciler is not None:
                await self._reconciler.stop()
            if self._store is not None:
                await self._store.close()
            await self._listener.close()
            self._log.info("stopped")

    def ingest(self, message: Message) -> bool:
        """Take a message as if it came over a connection; False if it is refused."""
        return self._only_shard.delivery.inbox.put(message)

    @property
    def _only_shard(self) -> Shard:
        (shard,) = self._shards
        return shard

    @property
    def port(self) -> int:
        """The port that the listener has; of the kernel's choice if port 0 was asked for."""
        return self._listener.port

    @property
    def clients(self) -> Mapping[str, Client]:
        """The clients that are known, by client ID."""
        return self._only_shard.fleet.presence.clients

    def readiness(self) -> Readiness:
        """Return whether the daemon is ready, or why not."""
        if self._stopping:
            return Readiness(ready=False, text="stopping")
        if not self._source.started:
            return Readiness(ready=False, text="starting")
        # Under `stall` a file that cannot be written is what keeps presence behind.
        state = self._store.problems if self._store is not None else []
        if problems := self._source.problems:
            return Readiness(ready=False, text="\n".join([*state, *problems]))
        is_mqtt = self._metric_sources.mqtt is not None
        what = "every connection is up, every filter granted" if is_mqtt else self._source.summary
        lines = [f"ready: {what}"]
        lines += [*self._source.warnings, *state]
        if self._reconciler is not None:
            lines += self._reconciler.problems
        return Readiness(ready=True, text="\n".join(lines))

    def _is_up(self) -> bool:
        """Return whether every connection is up, and nothing is left of what was queued."""
        return self._source.started and not self._source.problems

    async def reload(self) -> list[str]:
        """Read the settings again and apply them; wrong ones change nothing.

        Returns what is wrong with them or with the files that they name. Presence is kept. Only
        connections whose own options, or whose certificate files, changed reconnect.
        """
        async with self._changing:
            if self._stopping:
                return ["presenced is stopping"]
            with self._supervision.reloading():
                self._reloading = asyncio.ensure_future(self._reload())
                await asyncio.wait([self._reloading])
            if self._reloading.cancelled():
                return ["presenced is stopping"]
            try:
                problems = self._reloading.result()
            except Exception as error:  # noqa: BLE001 - reported; nothing else reads it
                problems = self._reload_failed(error)
            if self._store is not None:
                self._store.note_reload(problems)
            return problems

    async def _reload(self) -> list[str]:
        try:
            look = await self._files.look_until_settled(self._read_all)
            settings, files, protection = look.value
            self._watcher.current.check_successor(protection, settings.metrics.web_config)
        except SettingsError as error:
            self._metric_sources.reload_successful = False
            problems = [str(problem) for problem in error.problems]
            self._log.error("configuration not reloaded; the running one stays", problems=problems)
            return problems
        self._apply(settings, protection)
        self._log_certificate_problems(files.problems)
        reconnected = await self._connect(settings, files)
        reconnected += await self._source.renew()
        if self._reconciler is not None:
            self._reconciler.use(settings)
        self._log.info("configuration reloaded", reconnected=reconnected)
        return []

    def _reload_failed(self, error: Exception) -> list[str]:
        """Report a reload that failed, perhaps half-way; the next one applies everything again."""
        self._metric_sources.reload_successful = False
        if isinstance(error, SettingsError):
            problems = [str(problem) for problem in error.problems]
            self._log.error("configuration not reloaded completely", problems=problems)
            return problems
        self._log.exception("configuration not reloaded completely, by an error in presenced")
        return ["an error in presenced, which its log has; some settings may be used: reload again"]

    def _read_all(self, snapshot: FileSnapshot) -> tuple[Settings, SourceFiles, Protection]:
        """Read the settings and all files that they name; raises SettingsError."""
        settings = self._load(snapshot)
        return (
            settings,
            read_source_files(settings, snapshot),
            read_protection(settings.metrics.web_config, snapshot),
        )

    def _apply(self, settings: Settings, protection: Protection) -> None:
        before, metrics = self._settings, settings.metrics
        for key in _changed_for_next_start(before, settings):
            self._log.warning("a change takes effect at the next start", key=key)
        if any(getattr(metrics, key) != getattr(before.metrics, key) for key in _SERIES_KEYS):
            self._shards.use_metrics(metrics)
            if self._api is not None:
                self._api.use(metrics)
        self._listener.reload = self.reload if metrics.enable_reload_endpoint else None
        self._listener.cross_site.allowed_hosts = metrics.allowed_hosts
        if not self._watcher.use(metrics.web_config, protection):
            self._log.warning(
                "metrics.web_config turns TLS on, which takes effect at the next start"
            )
        log.configure(settings.log.level, settings.log.format)
        self._transitions.use_configuration()
        self._shards.use(settings)
        # Last: after a failure half-way the next reload applies everything again.
        self._settings = settings
        self._metric_sources.reload_successful = True
        self._metric_sources.reloaded_at = time.time()

    async def _connect(self, settings: Settings, files: SourceFiles) -> int:
        started = await self._source.use(settings, files)
        # Deadlines of restored clients waited until it was known which messages may still come.
        self._shards.arm()
        self._metric_sources.transport = settings.transport
        self._metric_sources.certificate_expiry = dict(files.expiries)
        return started

    async def _disconnect(self) -> None:
        """Stop the connections in time, even if a reload is changing them."""
        if self._reloading is not None:
            self._reloading.cancel()
        try:
            async with asyncio.timeout(_DISCONNECT_TIMEOUT), self._changing:
                await self._source.stop()
        except TimeoutError:
            self._log.warning("the connections did not stop in time")

    async def _watch_certificates(self) -> None:
        """Take renewed certificate files within `mqtt.tls.refresh` of their appearing."""
        while True:
            tls = self._settings.tls_files
            await asyncio.sleep(tls.refresh if tls else _CHECK_CERTIFICATES_EVERY)
            try:
                async with self._changing:
                    if await self._source.renew():
                        self._log.info("certificate files renewed")
                    tls = self._settings.tls_files
                    look = await self._files.look(partial(certificate_expiries, tls))
                    self._metric_sources.certificate_expiry = look.value
            except SettingsError as error:
                self._throttled_log.warning("certificate files not checked", problem=str(error))
            except Exception:  # noqa: BLE001 - the next check may succeed
                self._log.exception("could not check for renewed certificate files")

    async def _watch_for_gaps(self) -> None:
        loop = asyncio.get_running_loop()
        alive_at = loop.time()
        while True:
            await asyncio.sleep(_CHECK_FOR_GAPS_EVERY)
            try:
                self._source.check()
                self._shards.arm()
                if loop.time() - alive_at >= _STORE_ALIVE_EVERY:
                    alive_at = loop.time()
                    self._shards.flush()
            except Exception:  # noqa: BLE001 - the next check may succeed
                self._log.exception("could not check for gaps")

    def _status(self) -> str:
        status = status_line(self._shards.clients, self._source.summary)
        if not self._metric_sources.reload_successful:
            status += "; the last reload failed and changed nothing"
        return status

    def _log_listener(self) -> None:
        self._log.info(
            "listening",
            address=self._settings.metrics.listen,
            port=self._listener.port,
            health_port=self._listener.health_port,
            **self._watcher.current.summary,
        )
        self._watcher.log_warnings()

    def _log_certificate_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._log.warning("certificate files", problem=str(problem))


def _changed_for_next_start(before: Settings, after: Settings) -> list[str]:
    """Return the keys that differ and take effect at the next start only."""
    keys = [
        f"metrics.{key}"
        for key in ("listen", "health_listen", "api")
        if getattr(after.metrics, key) != getattr(before.metrics, key)
    ]
    sections = ("source", "history", "state")
    keys += [key for key in sections if getattr(after, key) != getattr(before, key)]
    if after.reconcile.enabled != before.reconcile.enabled:
        keys.append("reconcile.enabled")
    return keys
