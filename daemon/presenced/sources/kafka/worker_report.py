"""What a worker reports in words: why it is not ready, and what is wrong although it is."""

from collections.abc import Mapping

from presenced.settings import format_duration
from presenced.sources.kafka.cluster_watch import ClusterWatch
from presenced.sources.kafka.faults import KafkaFault
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.library_errors import ConnectionErrors
from presenced.sources.kafka.partition import Stage
from presenced.sources.kafka.worker import Worker
from presenced.system.log import get_logger

_BEHIND = {Stage.RESTORING, Stage.CATCHING_UP}
_NAMED = 5
_STAGES = {
    Stage.RESTORING: "being restored",
    Stage.CATCHING_UP: "catching up",
    Stage.REVOKED: "being handed over",
    Stage.LOST: "lost",
}


class WorkerReport:
    """The report of one membership of the group, used on the event loop.

    `partitions` is their number in the whole fleet. `errors` explain those of the worker.
    """

    def __init__(
        self,
        worker: Worker,
        partitions: int,
        lease: Lease,
        watch: ClusterWatch,
        errors: ConnectionErrors,
    ) -> None:
        self.worker = worker
        self._partitions = partitions
        self._lease = lease
        self._watch = watch
        self._errors = errors
        self._is_hiding = False
        self._log = get_logger("presenced.kafka")

    @property
    def problems(self) -> list[str]:
        """Why the worker is not ready, one text each."""
        worker = self.worker
        problems = self._failures()
        if not (worker.has_assignment or worker.is_idle):
            return [*problems, "the group has assigned no partitions yet"]
        owned = worker.partitions.owned
        problems += not_shown({number: each.stage for number, each in owned.items()})
        if owned and not self._lease.is_valid:
            problems.append(self._no_word())
        return problems

    @property
    def catching_up(self) -> bool:
        """Whether all is well but for partitions that are being restored, or catch up."""
        if self._failures() or not self._lease.is_valid:
            return False
        stages = {each.stage for each in self.worker.partitions.owned.values()}
        return bool(stages & _BEHIND) and stages <= _BEHIND | {Stage.SHOWN}

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the worker is ready, one text each."""
        faults = "; or ".join(map(str, self._why_no_commit()))
        found = (
            f"no transaction is committed: {faults}" if faults else None,
            self._watch.lease_fault,
            self._skew(),
        )
        return [str(each) for each in found if each is not None]

    @property
    def summary(self) -> str:
        """The state in a few words."""
        if problems := self.problems:
            return f"not ready: {'; '.join(problems)}"
        if self.worker.is_idle:
            return f"idle: other workers have all {self._partitions} partitions"
        return f"has {len(self.worker.partitions.owned)} of {self._partitions} partitions"

    def log_lease(self) -> None:
        """Log that partitions are hidden because the lease is over, and that they are back."""
        owned = self.worker.partitions.owned
        if not any(each.stage is Stage.SHOWN for each in owned.values()):
            self._is_hiding = False
        elif self._is_hiding == self._lease.is_valid:
            self._is_hiding = not self._is_hiding
            if self._is_hiding:
                self._log.warning("partitions are hidden", problems=self.problems)
            else:
                self._log.info("partitions are shown again", partitions=len(owned))

    def _failures(self) -> list[str]:
        """Return a text for each fault, with what it concerns."""
        concerned: dict[KafkaFault, list[str]] = {}
        for what, failure in self.worker.errors.items():
            fault = self._errors.explain_of_member(*failure)
            concerned.setdefault(fault, []).append(what)
        return [f"{', '.join(what)}: {fault}" for fault, what in concerned.items()]

    def _no_word(self) -> str:
        age = self._lease.age
        since = "yet" if age is None else f"for {round(age)} s"
        problem = f"no word from the group {since}, so no partition is shown"
        # Leave out what another problem already reports.
        told = [self._errors.explain_of_member(*each) for each in self.worker.errors.values()]
        faults = [fault for fault in self._why_no_commit() if fault not in told]
        return f"{problem}: {'; or '.join(map(str, faults))}" if faults else problem

    def _why_no_commit(self) -> list[KafkaFault]:
        """Return why the last transaction may have failed; empty if it did not."""
        if self._watch.topic_fault is not None:
            return [self._watch.topic_fault]
        failures = self.worker.writer.failures
        return list(dict.fromkeys(self._errors.explain_of_member(*each) for each in failures))

    def _skew(self) -> str | None:
        """Return what is wrong with the clocks of this machine and of the brokers, if anything."""
        owned = self.worker.partitions.owned
        skews = {n: each.skew.seconds for n, each in owned.items() if each.skew.is_certain}
        number = max(skews, key=lambda number: abs(skews[number]), default=None)
        if number is None or not (skew := skews[number]):
            return None
        way = "ahead of" if skew > 0 else "behind"
        return (
            f"the clock of this machine is {format_duration(round(abs(skew)))} {way} that of the"
            f" broker that leads partition {number}, by which events are dated: synchronize both,"
            " timedatectl status"
        )


def not_shown(stages: Mapping[int, Stage]) -> list[str]:
    """Return a text for each stage but `SHOWN` that partitions are in, by their numbers."""
    return [
        text
        for stage, state in _STAGES.items()
        if (text := _text(sorted(n for n, each in stages.items() if each is stage), state))
    ]


def _text(numbers: list[int], state: str) -> str:
    if len(numbers) <= 1:
        return "".join(f"partition {number} is {state}" for number in numbers)
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{len(numbers)} partitions are {state}: {named}{more}"
