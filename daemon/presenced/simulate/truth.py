"""What is true at the end of a simulation, for people and for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence

from presenced.simulate.life import Standing

__all__ = ["summary", "truth_lines"]

_SHOWN = 10


def truth_lines(truth: Mapping[str, Standing], start: float) -> Iterator[str]:
    """One JSON line for each client, by client ID, with the keys of `replay --print clients`.

    `since` is when its present connection began, or its last one ended, in seconds since the epoch.
    """
    for client_id, standing in sorted(truth.items()):
        fields = {
            "client_id": client_id,
            "state": "online" if standing.reason is None else "offline",
            "since": round(start + standing.since, 3),
            "version": standing.connection.version,
            "session": standing.connection.session,
            "reason": standing.reason,
        }
        yield json.dumps(fields) + "\n"


def summary(truth: Mapping[str, Standing]) -> Iterator[str]:
    """Lines that tell people who is online, and who is not."""
    for state, wanted in (("online", True), ("offline", False)):
        names = sorted(name for name, each in truth.items() if (each.reason is None) is wanted)
        yield f"{len(names)} {state}{_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f": {', '.join(names[:_SHOWN])}{more}."
