"""Clients whose events are in the wrong partition: a rule does not key them as it should."""

from presenced.fleet import Partition
from presenced.pipeline import Batch
from presenced.sources.kafka.partitioner import partition_of
from presenced.system.log import ThrottledLogger, get_logger


class MisplacedClients:
    """Observes the pipeline of a partition, and counts clients that belong into another one.

    Only clients that were not known before are looked at: one that belongs here does so for ever.
    """

    def __init__(self, partition: Partition) -> None:
        self.count = 0
        self._partition = partition
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def observe(self, batch: Batch) -> None:
        """Look at the clients that a batch has made known."""
        if not batch.messages:
            return  # known from the state, or by time
        number, partitions = self._partition
        for change in batch.changes.clients:
            if change.before is None and change.after is not None:
                client_id = change.client.client_id
                right = partition_of(client_id.encode(errors="surrogatepass"), partitions)
                if right != number:
                    self.count += 1
                    self._report(client_id, right)

    def _report(self, client_id: str, right: int) -> None:
        self._log.warning(
            "events of a client are in the wrong partition: let the rule's action `kafka` have the"
            " key ${clientId}, of events of things ${thingName}, of memberships ${topic(7)}",
            key="misplaced",
            client_id=client_id,
            partition=self._partition.number,
            belongs_to=right,
        )
