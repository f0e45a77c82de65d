"""The fleet in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presenced.api.documents import Document
    from presenced.http.server import Readiness
    from presenced.pipeline import Pipeline

__all__ = ["summary_document"]


def summary_document(pipeline: Pipeline, readiness: Readiness) -> Document:
    """What has been counted; the totals are those of the metrics."""
    counts, inventory = pipeline.presence.counts, pipeline.fleet.inventory
    disconnects: dict[str, int] = {}
    for (reason, _), count in counts.disconnects.items():
        disconnects[reason] = disconnects.get(reason, 0) + count
    return {
        "ready": readiness.ready,
        "readiness": readiness.text,
        "clients": {state.value: count for state, count in counts.clients.items()},
        "unverified": counts.unverified,
        "transitions": {state.value: count for state, count in counts.transitions.items()},
        "flaps_suppressed": counts.flaps_suppressed,
        "disconnects": disconnects,
        "things": len(inventory.things.live),
        "thing_types": len(inventory.types.live),
        "thing_groups": len(inventory.groups.live),
    }
