"""What the doctor finds, and how people and programs are told of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from presenced.mqtt.faults import Fault

__all__ = ["Finding", "Report", "Status", "Step", "in_words"]

_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}
_INDENT = " " * 11


class Status(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a step ended, what was found, and what to do about it."""

    status: Status
    detail: str = ""
    remedy: str = ""

    @staticmethod
    def of(fault: Fault) -> "Finding":
        """The finding that a fault is, in the daemon's own words."""
        return Finding(Status.FAILED, str(replace(fault, remedy="")), fault.remedy)


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way to the first message."""

    name: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Report:
    """The steps of each connection, by its client ID."""

    connections: dict[str, Sequence[Step]]

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return not any(
            step.finding.status is Status.FAILED
            for steps in self.connections.values()
            for step in steps
        )

    def as_json(self) -> str:
        """One JSON object, for programs."""
        connections = [
            {"connection": client_id, "steps": [_plain(step) for step in steps]}
            for client_id, steps in self.connections.items()
        ]
        return json.dumps({"ok": self.ok, "connections": connections}, indent=2)


def in_words(step: Step) -> Iterator[str]:
    """The lines that tell people of a step: one, and below it the cause and the remedy, if any."""
    finding = step.finding
    mark = f"  {_MARKS[finding.status]:<9}{step.name}"
    if finding.status in (Status.OK, Status.SKIPPED) or not finding.detail:
        yield f"{mark}: {finding.detail}" if finding.detail else mark
    else:
        yield mark
        yield f"{_INDENT}{finding.detail}"
    if finding.remedy:
        yield f"{_INDENT}Remedy: {finding.remedy}"


def _plain(step: Step) -> dict[str, str]:
    finding = step.finding
    return {
        "step": step.name,
        "status": finding.status,
        "detail": finding.detail,
        "remedy": finding.remedy,
    }
