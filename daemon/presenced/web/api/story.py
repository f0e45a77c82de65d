"""What there is to tell about one client, and its words.

Times as JSON has them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from presenced.presence import Client, Effect, State
from presenced.sources.gap_detector import LastGap
from presenced.web.api.history import Arrival, Record

_LAST = 253_402_300_799.0  # of the year 9999, after which RFC 3339 has no more


def timestamp(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 has them, in milliseconds and UTC; None after 9999."""
    if seconds is None or seconds > _LAST:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def in_words(seconds: float) -> str:
    """Seconds since the epoch as a sentence has them."""
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_HOUR = 3600.0
_LATE = 10.0

_REASONS = {
    "AUTH_ERROR": "it could not be authenticated, or lost its permission",
    "CLIENT_INITIATED_DISCONNECT": "it said goodbye",
    "CLIENT_ERROR": "it made a mistake that ended the connection",
    "CONNECTION_LOST": "the connection was lost",
    "DUPLICATE_CLIENTID": "another connection took over its client ID",
    "FORBIDDEN_ACCESS": "it did what its policy forbids",
    "MQTT_KEEP_ALIVE_TIMEOUT": "it fell silent for longer than its keep-alive",
    "SERVER_ERROR": "the broker had an error",
    "SERVER_INITIATED_DISCONNECT": "the broker ended the connection",
    "API_INITIATED_DISCONNECT": "somebody ended the connection by the API of AWS",
    "THROTTLED": "it went beyond a limit",
    "WEBSOCKET_TTL_EXPIRATION": "its WebSocket connection came of age",
    "CUSTOMAUTH_TTL_EXPIRATION": "its authorization came of age",
}

_GAPS = {
    "session_lost": "the broker had not kept the session",
    "session_expired": "the session had expired",
    "clean_session": "there was no session to be kept",
    "filters_changed": "a filter that is new had not been subscribed to",
    "rate_limit": "messages came at the limit, beyond which AWS discards them",
    "backlog_full": "more came than there was room for",
}


class Deadline(NamedTuple):
    """When a client goes offline or is forgotten, epoch seconds.

    `held` says that it is put off until what was published meanwhile has come.
    """

    at: float
    held: bool


class Story(NamedTuple):
    """All that is known of one client at the wall-clock time `now`, epoch seconds.

    `record` is None where nothing of its events is remembered. `gap` is the one that leaves it
    unverified, if it is; where that came before the daemon's start nothing is known about it.
    """

    client: Client
    record: Record | None
    now: float
    deadline: Deadline | None
    unverified: bool
    gap: LastGap | None


def explain(story: Story) -> str:
    """Why a client is in its state, in a few sentences."""
    sentences = [
        _state(story),
        _lateness(story),
        _flaps(story),
        _ignored(story),
        _awaited(story),
        _doubt(story),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _state(story: Story) -> str:
    client = story.client
    since = "" if client.since is None else f" since {in_words(client.since)}"
    if client.state is State.UNKNOWN:
        return "Unknown: nothing has been heard of it yet; it is a thing of the registry."
    if client.state is State.OFFLINE:
        return f"Offline{since}: {_reason(client.reason)}."
    if client.state is State.PENDING:
        return f"Disconnected{since}: {_reason(client.reason)}. {_pending(story.deadline)}"
    if not client.has_event:
        return f"Taken for online{since}: it subscribed, but its connect has not been received."
    return f"Online{since}."


def _reason(reason: str | None) -> str:
    if reason is None:
        return "no reason was given"
    return _REASONS.get(reason, f"the reason given is {reason}")


def _pending(deadline: Deadline | None) -> str:
    if deadline is None or deadline.held:
        return (
            "It counts as online until what was published meanwhile has come: a connection to the"
            " broker was down, or its state could not be stored."
        )
    return f"It counts as offline from {in_words(deadline.at)} on, unless it connects before."


def _lateness(story: Story) -> str:
    decided = story.record and story.record.decided_for(story.client)
    late = decided.late if decided else None
    if late is None or late < _LATE:
        return ""
    return f"The event that tells so came {_duration(late)} late."


def _flaps(story: Story) -> str:
    if story.record is None:
        return ""
    flaps = sum(
        isinstance(entry, Arrival)
        and entry.effect is Effect.FLAP_SUPPRESSED
        and entry.received > story.now - _HOUR
        for entry in story.record.entries
    )
    return f"{flaps} flap{'s' * (flaps > 1)} in the last hour." if flaps else ""


def _ignored(story: Story) -> str:
    ignored = story.record.ignored if story.record else ()
    if not ignored:
        return ""
    last = ignored[-1]
    what = "connect" if last.type == "connected" else "disconnect"
    version = "" if last.version is None else f" of version {last.version}"
    when = in_words(last.received)
    if last.effect is Effect.DUPLICATE:
        told = f"A second copy of the {what}{version} came at {when} and was ignored."
    else:
        late = last.late
        lateness = f", {_duration(late)} late," if late is not None and late >= 1 else ""
        told = f"A {what}{version} came at {when}{lateness} and was ignored: {_against(last)}."
    if len(ignored) == 1:
        return told
    return f"{len(ignored)} events were ignored since. The last: {told}"


def _against(arrival: Arrival) -> str:
    rival = arrival.against
    if rival is None:
        return "a later event is known"
    what = "connect" if rival.connected else "disconnect"
    version = "" if rival.version is None else f" of version {rival.version}"
    return f"the {what}{version} is later"


def _awaited(story: Story) -> str:
    replaced = len(story.client.replaced)
    if not replaced:
        return ""
    plural = "s" * (replaced > 1)
    return f"The disconnect{plural} of {replaced} replaced connection{plural} may still come."


def _doubt(story: Story) -> str:
    if not story.unverified:
        return ""
    if story.gap is None:
        return "Unverified: events may have been lost before presenced was started."
    why = _GAPS[story.gap.reason.value]
    return (
        f"Unverified since {in_words(story.gap.at)}: events may have been lost on the connection"
        f" {story.gap.connection}, for {why}."
    )


def _duration(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
