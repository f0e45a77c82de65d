"""The findings of the doctor, as text for people and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from presenced.aws.errors import AwsError
from presenced.commands.output import counted
from presenced.sources.mqtt.faults import Fault


class Status(StrEnum):
    """The result of a step."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a step, what was found, and what to do about it."""

    status: Status
    detail: str = ""
    remedy: str = ""

    @staticmethod
    def of(fault: Fault, status: Status = Status.FAILED) -> "Finding":
        """Return the finding for a fault, in the words of the daemon's log."""
        return Finding(status, str(replace(fault, remedy="")), fault.remedy)

    @staticmethod
    def of_aws(error: AwsError) -> "Finding":
        """Return the finding for a request to AWS that failed."""
        return Finding(Status.FAILED, error.detail, error.remedy)

    def lines(self, step: str) -> Iterator[str]:
        """Yield the lines for people: the step, then the cause and the remedy of a problem."""
        is_problem = self.status in (Status.WARNING, Status.FAILED)
        mark = "FAILED" if self.status is Status.FAILED else self.status.value
        detail = f": {self.detail}" if self.detail and not is_problem else ""
        yield f"  {mark:<9}{step}{detail}"
        indent = " " * 11
        if self.detail and is_problem:
            yield f"{indent}{self.detail}"
        if self.remedy:
            yield f"{indent}Remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Report:
    """The steps of each connection with their findings.

    MQTT connections have the name of their client ID; that of a queue is `sqs`, that of a cluster
    `kafka`. `aws` are the steps of the requests to AWS IoT.
    """

    connections: dict[str, list[tuple[str, Finding]]] = field(default_factory=dict)
    aws: list[tuple[str, Finding]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return not self._counts[Status.FAILED]

    @property
    def _counts(self) -> Counter[Status]:
        parts = (*self.connections.values(), self.aws)
        return Counter(found.status for steps in parts for _, found in steps)

    def summary(self) -> str:
        """Return the last line for people."""
        counts = self._counts
        failed, warnings = counts[Status.FAILED], counts[Status.WARNING]
        parts = [f"{failed} failed"] if failed else []
        parts += [counted(warnings, "warning")] if warnings else []
        return f"{', '.join(parts)}." if parts else "Everything is well."

    def as_json(self) -> str:
        """Return one JSON object, for programs."""
        connections = [
            {"connection": client_id, "steps": _as_json(steps)}
            for client_id, steps in self.connections.items()
        ]
        report = {"ok": self.ok, "connections": connections, "aws": _as_json(self.aws)}
        return json.dumps(report, indent=2)


def _as_json(steps: list[tuple[str, Finding]]) -> list[dict[str, str]]:
    return [{"step": step, **asdict(finding)} for step, finding in steps]
