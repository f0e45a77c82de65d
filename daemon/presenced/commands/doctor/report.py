"""The findings of the doctor, as text for people and as JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from presenced.sources.faults import Fault


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
    def of(fault: Fault) -> "Finding":
        """Return the finding for a fault, in the words of the daemon's log."""
        return Finding(Status.FAILED, str(replace(fault, remedy="")), fault.remedy)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a connection, and its finding."""

    name: str
    finding: Finding

    def lines(self) -> Iterator[str]:
        """Yield the lines for people: the result, then the cause and the remedy of a problem."""
        status, detail, remedy = self.finding.status, self.finding.detail, self.finding.remedy
        mark = "FAILED" if status is Status.FAILED else status.value
        line = f"  {mark:<9}{self.name}"
        is_problem = status in (Status.WARNING, Status.FAILED)
        yield f"{line}: {detail}" if detail and not is_problem else line
        indent = " " * 11
        if detail and is_problem:
            yield f"{indent}{detail}"
        if remedy:
            yield f"{indent}Remedy: {remedy}"


@dataclass(frozen=True, slots=True)
class Report:
    """The steps of each connection, by its client ID."""

    connections: dict[str, Sequence[Step]]

    def count(self, status: Status) -> int:
        """Return the number of steps with a result, over all connections."""
        return sum(
            step.finding.status is status for steps in self.connections.values() for step in steps
        )

    def summary(self) -> str:
        """Return the last line for people."""
        counts = {status: self.count(status) for status in (Status.FAILED, Status.WARNING)}
        parts = (f"{count} {status}" for status, count in counts.items() if count)
        return f"{', '.join(parts) or 'Everything is well'}."

    def as_json(self) -> str:
        """Return one JSON object, for programs."""
        connections = [
            {
                "connection": client_id,
                "steps": [
                    {
                        "step": step.name,
                        "status": step.finding.status,
                        "detail": step.finding.detail,
                        "remedy": step.finding.remedy,
                    }
                    for step in steps
                ],
            }
            for client_id, steps in self.connections.items()
        ]
        ok = not self.count(Status.FAILED)
        return json.dumps({"ok": ok, "connections": connections}, indent=2)
