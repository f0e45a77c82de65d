"""What the doctor finds, and how people and programs are told of it.

What the doctor says of a broker that grants, refuses, drops, or falls silent.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from presenced.events.message import Message
from presenced.settings import format_duration
from presenced.settings.values import overlapping_filters
from presenced.sources.faults import (
    Fault,
    FaultReason,
    granted_qos_0,
    published_at_qos_0,
    receive_remedy,
    subscribe_remedy,
)
from presenced.sources.mqtt.symptoms import no_connack
from presenced.sources.options import probe_client_id
from presenced.sources.source import SourceOptions

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


# What a broker that does not like a client ID looks like.
_REFUSALS = frozenset({FaultReason.NOT_AUTHORIZED, FaultReason.CONNECT_REFUSED})


def refused(fault: Fault | None, options: SourceOptions, stands_in_for: str | None) -> Finding:
    """No connection came about, perhaps only because of the name.

    `stands_in_for` is the daemon's client ID where the doctor does not use it.
    """
    finding = Finding.of(fault or no_connack(options))
    if stands_in_for is None or (fault and fault.reason not in _REFUSALS):
        return finding
    why = (
        f"The doctor connects as {options.client_id} so as not to end the daemon's connection; if"
        " the broker knows the daemon's client ID only, stop the daemon and run the doctor with"
        f" --client-id {stands_in_for}"
    )
    return replace(finding, remedy=f"{finding.remedy}. {why}".removeprefix(". "))


def granted(qos: int, topic_filter: str, options: SourceOptions) -> Finding:
    """The broker granted a filter with this QoS."""
    if qos < options.qos:
        return Finding(Status.WARNING, *granted_qos_0(topic_filter))
    return Finding(Status.OK, f"granted with QoS {qos}")


def came(message: Message, answers: Mapping[str, int | Fault], options: SourceOptions) -> Finding:
    """A message came; `answers` is what the broker said to the filters.

    Where it granted them as they were asked for, a lower QoS is that of the publisher.
    """
    topic = "".join(c if c.isprintable() else "?" for c in message.topic[:256])
    if message.qos < options.qos and 0 not in answers.values():
        return Finding(Status.WARNING, *published_at_qos_0(topic))
    return Finding(Status.OK, f"{topic}, QoS {message.qos}")


def dropped(fault: Fault, topic_filter: str, options: SourceOptions) -> Finding:
    """The connection ended before the SUBACK."""
    return Finding(
        Status.FAILED,
        f"the broker ended the connection instead of answering SUBSCRIBE ({fault.detail})",
        "AWS IoT Core does so when the policy does not allow the subscription."
        f" {subscribe_remedy(topic_filter, options.endpoint)}",
    )


def no_answer(topic_filter: str, options: SourceOptions) -> Finding:
    """Neither a SUBACK came nor the end."""
    return Finding(
        Status.FAILED,
        f"the broker at {options.address} did not answer the SUBSCRIBE to {topic_filter}",
        "Ask those who run the broker; its log may say why",
    )


def silent(options: SourceOptions, limit: float, *, probed: bool) -> Finding:
    """Every filter is granted, and no message came within `limit` seconds.

    With `probed` a second connection was made and ended meanwhile, of which AWS tells.
    """
    waited = format_duration(limit)
    probe = probe_client_id(options.client_id)
    topic = f"$aws/events/presence/connected/{probe}"
    receive = receive_remedy(options.filters, options.endpoint)
    if probed and any(overlapping_filters([options.filters, [topic]])):
        return Finding(
            Status.FAILED,
            f"granted but silent: no message came within {waited}, though {probe} connected"
            f" meanwhile, which AWS IoT Core tells on {topic}",
            f"{receive}. Brokers other than AWS tell nothing of it: there, wait for a device to"
            " connect, with --timeout 5m",
        )
    return Finding(
        Status.FAILED,
        f"granted but silent: no message came within {waited}, perhaps because nothing happened"
        " that these filters match",
        f"Wait longer, with --timeout 5m, and cause such an event. {receive}",
    )
