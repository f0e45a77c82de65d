"""The source Kafka: this process as a worker of the consumer group, joining anew when that ends."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from presenced.fleet import Partition
from presenced.settings import Settings, SettingsError
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.access import KafkaAccess
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.cluster_checks import open_cluster
from presenced.sources.kafka.cluster_watch import ClusterWatch
from presenced.sources.kafka.errors import is_unsupported
from presenced.sources.kafka.events_writer import EventsWriter
from presenced.sources.kafka.faults import KafkaFault, KafkaFaultError
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.library_errors import ConnectionErrors, error_of
from presenced.sources.kafka.partition import OwnedPartition, PartitionFleet
from presenced.sources.kafka.placement import Placement
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.transactions import TransactionCounts
from presenced.sources.kafka.trial import made_of, secrets_of, try_settings
from presenced.sources.kafka.worker import Worker
from presenced.sources.kafka.worker_config import Protocol, events_producer, worker_config
from presenced.sources.kafka.worker_report import WorkerReport
from presenced.sources.source import SourceFiles
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

_JOIN_AGAIN_AFTER = 2.0

OpenPartition = Callable[[Partition, Callable[[], float]], PartitionFleet]
"""Makes the fleet of a partition; the second argument is `held_at` of its delivery."""


class KafkaSource:
    """Joins the group, and joins anew if the membership ends. Used on the event loop.

    `open_partition` makes the fleets of the partitions that are assigned. `lease`, `transactions`
    and `partitions`, their number in the whole fleet, last from one membership to the next.
    """

    def __init__(self, open_partition: OpenPartition, access: KafkaAccess, clocks: Clocks) -> None:
        self.lease = Lease(math.inf)
        self.partitions = 0
        self.placement = Placement()
        self.transactions = TransactionCounts()
        self._open_partition = open_partition
        self._access = access
        self._clocks = clocks
        self._protocol: Protocol = "consumer"
        self._settings: Settings | None = None
        self._config: Mapping[str, Any] = {}
        self._errors: ConnectionErrors | None = None
        self._report: WorkerReport | None = None
        self._problem = "the group has not been joined yet"
        self._refused: SettingsError | None = None
        self._watch = ClusterWatch(self.lease)
        self._membership: asyncio.Task[None] | None = None
        self._writer: EventsWriter | None = None
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    @property
    def started(self) -> bool:
        """Whether `use` has been called."""
        return self._settings is not None

    @property
    def worker(self) -> Worker | None:
        """The member of the group; None while there is none."""
        return None if self._report is None else self._report.worker

    @property
    def owned(self) -> Mapping[int, OwnedPartition]:
        """The partitions that this worker owns, by number."""
        return self.worker.partitions.owned if self.worker is not None else {}

    @property
    def ownership(self) -> Mapping[int, bool]:
        """Whether this worker has each partition of the fleet, shown or not yet."""
        owned = self.owned if self.may_show else {}
        return {number: number in owned for number in range(self.partitions)}

    @property
    def misplaced(self) -> int:
        """Events in another partition than that of their client or thing."""
        return self.placement.misplaced

    @property
    def lag(self) -> Mapping[int, int]:
        """How many records each owned partition is behind."""
        return self.worker.partitions.lag if self.worker is not None else {}

    @property
    def may_show(self) -> bool:
        """Whether the partitions may be shown now: while the lease lasts, or if there are none."""
        return self.lease.is_valid or (self.worker is not None and self.worker.is_idle)

    @property
    def problems(self) -> list[str]:
        """Why the worker is not ready, one text each."""
        return [self._problem] if self._report is None else self._report.problems

    @property
    def catching_up(self) -> bool:
        """Whether all is well but for partitions that are being restored, or catch up."""
        return self._report is not None and self._report.catching_up

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the worker is ready, one text each."""
        warnings = [] if self._report is None else self._report.warnings
        if self._refused is not None:
            warnings.append(f"changed files are not used, the connection stays: {self._refused}")
        return warnings

    @property
    def summary(self) -> str:
        """The state in a few words."""
        return f"not ready: {self._problem}" if self._report is None else self._report.summary

    def held_at(self, number: int) -> float:
        """Return the monotonic time after which no deadline of a partition is due yet."""
        return self.worker.held_at(number) if self.worker is not None else -math.inf

    def events_writer(self) -> EventsWriter:
        """Return what writes records of our own into the topic of events; used while it is joined.

        After the settings or files of the connection have changed it is another one, and after the
        number of partitions has.
        """
        assert self._settings is not None  # noqa: S101 - see `use`
        if self._writer is not None and self._writer.partitions != self.partitions:
            self._drop_writer()
        if self._writer is None:
            self._writer = EventsWriter(
                events_producer(self._config),
                self._settings.kafka.topic,
                self.partitions,
                self._explain,
            )
        return self._writer

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def check(self) -> None:
        """Look how far the partitions are; called four times a second."""
        self.placement.check()
        if self._report is not None:
            self._report.worker.check()
            self._report.log_lease()

    async def use(self, settings: Settings, files: SourceFiles) -> int:  # noqa: ARG002 - Source
        """Join the group; join it anew if its settings have changed. Raises SettingsError."""
        if self._settings is not None and made_of(self._settings) == made_of(settings):
            self._settings = settings
            return await self.renew()
        config, errors = await self._read(settings)
        self._settings = settings
        return await self._join_with(config, errors)

    async def renew(self) -> int:
        """Join the group anew if the files that `kafka.security` names have changed.

        While partitions are shown the new ones are tried before; if they are refused, the worker
        goes on with those that it has.
        """
        if self._settings is None:
            return 0
        config, errors = await self._read(self._settings)
        if secrets_of(config) == secrets_of(self._config):
            self._refused = None
            return 0
        try:
            await self.try_settings(self._settings)
        except SettingsError as error:
            self._refused = error
            self._log.error("changed files of kafka.security are not used", problem=str(error))
            return 0
        return await self._join_with(config, errors)

    async def try_settings(self, settings: Settings) -> None:
        """Connect with settings or files that differ, beside the membership, which goes on.

        To join anew with wrong ones would hide the partitions of this worker, or move them to
        another one. Without a membership there is nothing to keep, and nothing is tried. Raises
        SettingsError if the worker could not join with them.
        """
        if self._settings is None or self.worker is None or not self.may_show:
            return
        access = self._access.another()
        try:
            config, _ = await self._read(settings, access)
            is_same = made_of(self._settings) == made_of(settings)
            if not (is_same and secrets_of(config) == secrets_of(self._config)):
                await try_settings(settings, config)
        finally:
            await access.close()

    async def _read(
        self, settings: Settings, access: KafkaAccess | None = None
    ) -> tuple[Mapping[str, Any], ConnectionErrors]:
        errors = ConnectionErrors(
            settings.kafka, settings.brokers_region, asks_aws=settings.reconcile.enabled
        )
        return await (access or self._access).read(settings, errors.report), errors

    async def _join_with(self, config: Mapping[str, Any], errors: ConnectionErrors) -> int:
        await self._leave()
        self._drop_writer()
        self._refused = None
        self._config, self._errors = config, errors
        self._join_after(0.0)
        return 1

    async def stop(self) -> None:
        """Leave the group; what has changed is written first."""
        await self._leave()
        self._drop_writer()
        await self._access.close()

    async def _leave(self) -> None:
        if self._membership is not None:
            self._membership.cancel()
        worker, self._report = self.worker, None
        if worker is not None:
            await worker.stop()

    def _join_after(self, seconds: float) -> None:
        if self._membership is not None:
            self._membership.cancel()
        self._membership = asyncio.get_running_loop().create_task(self._be_member(seconds))

    async def _be_member(self, wait: float) -> None:
        """Join the group, and leave it while topics are not as they must be, until cancelled."""
        assert self._settings is not None  # noqa: S101 - see `use`
        kafka, region = self._settings.kafka, self._settings.brokers_region
        while True:
            await asyncio.sleep(wait)
            wait = _JOIN_AGAIN_AFTER
            if (joined := await self._join(kafka, region)) is None:
                continue
            cluster, topics, worker = joined
            await self._watch.until_repartitioned(
                cluster, kafka, self._protocol, self.partitions, topics, worker
            )
            self._report, self._problem = None, "the number of partitions has changed"
            await in_thread(cluster.close, name="kafka topics")
            await worker.stop()

    async def _join(
        self, kafka: KafkaSettings, region: str | None
    ) -> tuple[Cluster, TopicIds, Worker] | None:
        """Join the group; return None if that fails."""
        try:
            cluster, topics, self.partitions, protocol = await in_thread(
                lambda: open_cluster(kafka, self._config, region), name="kafka topics"
            )
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            self._not_joined(error)
            return None
        try:
            if protocol == "classic" != self._protocol:
                self._use_classic()
            await self._watch.limit_lease(cluster, kafka, self._protocol)
            worker = await in_thread(lambda: self._new_worker(kafka), name="kafka clients")
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            self._not_joined(error)
            await in_thread(cluster.close, name="kafka topics")
            return None
        self._watch.begin()
        assert self._errors is not None  # noqa: S101 - set before
        self._report = WorkerReport(worker, self.partitions, self.lease, self._watch, self._errors)
        worker.start()
        return cluster, topics, worker

    def _not_joined(self, error: Exception) -> None:
        """Report why an attempt to join failed."""
        if isinstance(error, KafkaFaultError):
            self._fail(error.fault)
        elif isinstance(error, KafkaException):
            self._fail(self._explain(error_of(error)))
        else:
            self._problem = (
                "the group cannot be joined because of an error in presenced, which its log has"
            )
            self._log.exception(self._problem)

    def _new_worker(self, kafka: KafkaSettings) -> Worker:
        config = worker_config(kafka, self._config, self._protocol)
        return Worker(config, self.lease, self.transactions, self._open, self._ended, self._clocks)

    def _fail(
        self,
        fault: KafkaFault,
        event: str = "the group cannot be joined; presenced tries again",
    ) -> None:
        self._problem = str(fault)
        self._log.error(
            event,
            key=fault,
            cause=fault.reason.value,
            detail=fault.detail,
            remedy=fault.remedy,
        )

    def _explain(self, error: KafkaError, topic: str | None = None) -> KafkaFault:
        assert self._errors is not None  # noqa: S101 - a worker has them
        return self._errors.explain_of_member(error, topic)

    def _open(self, number: int) -> PartitionFleet:
        if number >= self.partitions:
            self._watch.note_foreign_partition()
        partition = Partition(number, self.partitions)
        return self._open_partition(partition, lambda: self.held_at(number))

    def _ended(self, error: KafkaError | None) -> None:
        """Join anew after a membership that has ended by itself."""
        worker, self._report = self.worker, None
        if worker is None:
            return
        if error is None:
            self._problem = "the membership of the group ended"
        elif self._protocol == "consumer" and is_unsupported(error):
            self._use_classic()
            self._problem = "the group has not been joined yet"
        else:
            self._fail(
                self._explain(error), "the membership of the group ended; presenced joins it again"
            )
        worker.end()
        self._join_after(_JOIN_AGAIN_AFTER)

    def _use_classic(self) -> None:
        self._protocol = "classic"
        self._log.info("the brokers have no protocol `consumer`; `classic` is used")
