"""What the daemon says beside what is true. Pure: texts and sets in, verdicts and lines out."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from presenced.emulator.breakdown import Breakdown
from presenced.emulator.truth import Truth

__all__ = ["Scrape", "Tally", "agree", "report_line"]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The state of the fleet as `/metrics` tells it.

    `shown_online` are the clients whose own series is 1, which means online or pending.
    """

    online: int
    pending: int
    offline: int
    shown_online: frozenset[str]
    breakdown: Breakdown = field(default_factory=Breakdown)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the exposition text."""
        states: dict[str, int] = defaultdict(int)
        shown_online = set()
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        for sample in samples:
            if sample.name == "iot_clients":
                states[sample.labels["state"]] = int(sample.value)
            elif sample.name == "iot_client_connected" and sample.value == 1:
                shown_online.add(sample.labels["client_id"])
        return cls(
            states["online"],
            states["pending"],
            states["offline"],
            frozenset(shown_online),
            Breakdown.read(samples),
        )


def agree(scrape: Scrape, before: Truth, after: Truth) -> bool:
    """Whether the scrape tells the truth that held before and after it was taken.

    Only clients whose events were under way meanwhile may be told either way. Names count, not
    only numbers: two mistakes do not cancel out.
    """
    doubtful = before.in_flight | after.in_flight
    certainly = (before.connected & after.connected) - doubtful
    possibly = before.connected | after.connected | doubtful
    return (
        len(certainly) <= scrape.online <= len(possibly)
        and certainly <= scrape.shown_online
        and len(scrape.shown_online - possibly) <= scrape.pending
    )


def report_line(now: datetime, scrape: Scrape, truth: Truth, *, agreed: bool) -> str:
    """One line that shows both sides and the verdict."""
    return (
        f"{now:%H:%M:%S}  presenced: online {scrape.online:3}  pending {scrape.pending:2}  "
        f"offline {scrape.offline:2} | broker: connected {len(truth.connected):3}  "
        f"in flight {len(truth.in_flight):2} | {'agree' if agreed else 'settling'}"
    )


@dataclass(slots=True)
class Tally:
    """How often both sides agreed, or what else `claim` says."""

    agreed: int = 0
    total: int = 0
    claim: str = "presenced and the broker agreed"

    def count(self, *, agreed: bool) -> None:
        """Count one sample."""
        self.total += 1
        self.agreed += agreed

    def __str__(self) -> str:
        return f"{self.claim} in {self.agreed} of {self.total} samples"
