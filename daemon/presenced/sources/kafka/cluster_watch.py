"""Whether the cluster still is as it was when the worker joined its group."""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial

from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.cluster_checks import LeaseLimit, lease_limit, look_at_topics
from presenced.sources.kafka.faults import KafkaFault, KafkaFaultError
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.worker import Worker
from presenced.sources.kafka.worker_config import Protocol
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import in_thread

# Seconds. Producers use added partitions once they ask for the topic again; Kafka's own does that
# at least every 5 minutes (`metadata.max.age.ms`).
_LOOK_EVERY = 10.0
_LOOK_AGAIN_AFTER = 1.0


class ClusterWatch:
    """Looks at the cluster, and keeps `lease` as short as its group demands; used on the loop.

    `lease_fault` is what is wrong with `kafka.lease`, `topic_fault` what is wrong with a topic that
    was deleted or created anew; None if nothing is.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease_fault: KafkaFault | None = None
        self.topic_fault: KafkaFault | None = None
        self._suspected: KafkaFault | None = None
        self._lease = lease
        self._has_foreign_partition = asyncio.Event()
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    async def limit_lease(self, cluster: Cluster, kafka: KafkaSettings, protocol: Protocol) -> None:
        """Let the lease be no longer than the session of the group. Raises KafkaFaultError."""
        limit = LeaseLimit(kafka.lease, None)
        # With `classic` the worker chooses the session timeout.
        if protocol == "consumer":
            limit = await in_thread(lambda: lease_limit(cluster, kafka), name="kafka group")
        fault = limit.fault
        if fault is not None and fault != self.lease_fault:
            self._log.warning(
                "kafka.lease may be too long", detail=fault.detail, remedy=fault.remedy
            )
        self._lease.seconds, self.lease_fault = limit

    def begin(self) -> None:
        """A membership begins."""
        self.topic_fault = self._suspected = None
        self._has_foreign_partition.clear()

    def note_foreign_partition(self) -> None:
        """The group has assigned a partition that was not there when the worker joined."""
        self._has_foreign_partition.set()

    async def until_repartitioned(
        self,
        cluster: Cluster,
        kafka: KafkaSettings,
        protocol: Protocol,
        partitions: int,
        topics: TopicIds,
        worker: Worker,
    ) -> None:
        """Return when the number of partitions is no longer `partitions`, or 1 of a global topic.

        From then on producers place keys by that number: a client goes on in another partition, and
        is stale in its former one. So the worker must leave the group, and show nothing. `topics`
        are those with which it joined. With topics that were created anew it goes on once they are
        right, and writes nothing before.
        """
        changed: Mapping[str, int] = {}
        while not changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_AFTER if self._suspected else _LOOK_EVERY):
                    await self._has_foreign_partition.wait()
                    break
            try:
                look = await in_thread(
                    partial(look_at_topics, cluster, kafka, partitions, topics), name="kafka topics"
                )
                changed = look.repartitioned
                self._note_fault(look.fault, worker)
                if look.fault is None and look.ids is not None and not changed:
                    worker.partitions.use_topics(look.ids, topics)
                    topics = look.ids
                await self.limit_lease(cluster, kafka, protocol)
            except KafkaFaultError:
                pass  # asked again; the worker reports brokers that are down
            except Exception:  # noqa: BLE001 - the next look may succeed
                self._log.exception("the topics cannot be checked because of an error in presenced")
        self._log.error(
            "the number of partitions has changed, so the group is left and nothing is shown",
            partitions=partitions,
            changed=dict(changed),
        )

    def _note_fault(self, fault: KafkaFault | None, worker: Worker) -> None:
        """Stop the worker from writing while a topic is missing or wrong.

        A fault counts once it is found twice: a broker that has just started may not know a topic.
        """
        before, suspected, self._suspected = self.topic_fault, self._suspected, fault
        if fault is None or suspected is not None:
            self.topic_fault = fault
        worker.may_write = self.topic_fault is None
        if fault is not None and fault == self.topic_fault != before:
            self._log.error(
                "nothing is written until the topics are as they must be",
                key=fault,
                cause=fault.reason.value,
                detail=fault.detail,
                remedy=fault.remedy,
            )
        elif before is not None and self.topic_fault is None:
            self._log.info("the topics are as they must be again")
