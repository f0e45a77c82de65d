"""Whether the states of the clients are those of now, and what to check if not, in sentences.

The console and `presenced top` show the same sentences, so that they cannot disagree.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from presenced.system.supervision import Unreceived
from presenced.system.timestamps import clock_utc
from presenced.web.api.answers import Summary

_CHECK = (
    "Check first whether other clients of the MQTT broker work: if they do, only presenced is cut"
    " off; if not, the devices probably are, too."
)


_LOST = "Whether events are lost meanwhile is known once presenced receives them again."
_BEHIND = "Until presenced has caught up, states may be old, and no client goes offline."
_PARTITIONS_BEHIND = (
    "Clients of a partition that is being restored or catches up are not shown until it has; the"
    " states of the others are those of now."
)


def meaning_of(
    summary: Summary, state: str, unreceived: Unreceived | None, as_of: float | None, now: float
) -> list[str]:
    """Return what the state of the daemon means for those of the clients, most important first.

    `state` and `as_of` are those of the overview, `unreceived` is what is not received while other
    events are; times are in epoch seconds.
    """
    doubts = list(_doubts(summary, now))
    if state == "receiving":
        return doubts or ["No client is in doubt."]
    if state == "catching_up":
        return [_BEHIND if summary.partitions is None else _PARTITIONS_BEHIND, *doubts]
    if unreceived is not None:
        return [*_of_part(unreceived, as_of, now), _LOST, *doubts]
    return [
        f"{_source_of(summary, as_of, now)}presenced cannot tell whether devices are affected.",
        _CHECK,
        _LOST,
        *doubts,
    ]


def _of_part(unreceived: Unreceived, as_of: float | None, now: float) -> Iterator[str]:
    """Yield what the states are worth if a part of the events is not received."""
    since = "" if as_of is None else f" since {clock_utc(as_of, now)}"
    match unreceived.connects, unreceived.disconnects:
        case True, True:
            yield f"Clients may have gone online or offline unnoticed{since}."
        case True, False:
            why = f"not all connects have been received{since}"
            yield f"Clients shown as offline may be online: {why}."
        case False, True:
            why = f"not all disconnects have been received{since}"
            yield f"Clients shown as online may be offline: {why}."
        case _ if not unreceived.is_behind:
            why = "connects and disconnects are received"
            yield f"The states of the clients are those of now: {why}."
    if unreceived.is_behind:
        yield _BEHIND
    elif unreceived.is_of_clients and unreceived.holds:
        yield "Until presenced receives them, no client goes offline."


def _source_of(summary: Summary, as_of: float | None, now: float) -> str:
    """Return where the states come from, as the beginning of a sentence."""
    if as_of is not None:
        return f"The states are those of {clock_utc(as_of, now)}: "
    if not any(summary.clients.values()):
        return ""
    # Nothing has been received since the start.
    place = "file" if summary.partitions is None else "topic"
    return f"The states are those of the state {place}: "


def _doubts(summary: Summary, now: float) -> Iterator[str]:
    in_doubt, aws = summary.in_doubt, summary.aws
    total = sum(in_doubt.clients.values())
    if not total:
        return
    states = ", ".join(
        f"{number:,} {state}" for state, number in in_doubt.clients.items() if number
    )
    verb = "client is" if total == 1 else "clients are"
    causes = []
    if in_doubt.since is not None:
        causes.append(f"events may have been lost, last at {_clock(in_doubt.since, now)}")
    if aws is not None:
        causes.append("AWS has not confirmed the state")
    why = f": {', or '.join(causes)}" if causes else ""
    yield f"{total:,} {verb} in doubt ({states}){why}."
    if aws is None:
        yield "The next event of a client confirms its state."
    elif aws.problems:
        yield "AWS's record would confirm it, but requests to AWS fail."
    else:
        last = ""
        if aws.last_snapshot is not None:
            last = f"; the last was complete at {_clock(aws.last_snapshot.at, now)}"
        elif summary.partitions is None:  # of workers, only the owner of partition 0 has it
            last = "; none is complete since the start"
        yield f"The next snapshot of AWS's record confirms it{last}."


def _clock(timestamp: str, now: float) -> str:
    return clock_utc(datetime.fromisoformat(timestamp).astimezone(UTC).timestamp(), now)
