"""Explain in English sentences why a client is in its state."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from presenced.presence import Client, Effect, RecordEffect, State
from presenced.presence.counts import STATUS_OFFLINE
from presenced.presence.lookups import LOOKUP_TIMEOUT
from presenced.presence.record import TAKEN_OVER
from presenced.recent.troubles import Trouble
from presenced.sources.gaps import GapReason
from presenced.web.api.doubt import Doubt, DoubtCause
from presenced.web.api.history import ClientHistory, ReceivedEvent, RecordEntry

LATEST_TIME = 253_402_300_799.0
"""The last second of the year 9999, in epoch seconds: RFC 3339 and datetime end there."""

_HOUR = 3600.0
_LATE = 10.0

_REASONS = {
    "AUTH_ERROR": "it could not be authenticated or lost its permission",
    "CLIENT_INITIATED_DISCONNECT": "it disconnected on its own",
    "CLIENT_ERROR": "it violated the protocol or a limit",
    "CONNECTION_LOST": "the connection was lost",
    "DUPLICATE_CLIENTID": "another connection took over its client ID",
    "FORBIDDEN_ACCESS": "its policy forbids what it tried to do",
    "MQTT_KEEP_ALIVE_TIMEOUT": "it sent nothing within its keep-alive interval",
    "SERVER_ERROR": "the broker had an internal error",
    "SERVER_INITIATED_DISCONNECT": "the broker ended the connection",
    "API_INITIATED_DISCONNECT": "an API call disconnected it",
    "THROTTLED": "it exceeded a limit",
    "WEBSOCKET_TTL_EXPIRATION": "its WebSocket connection reached its maximum age",
    "CUSTOMAUTH_TTL_EXPIRATION": "its custom authorization expired",
    STATUS_OFFLINE: "its status topic, where its Last Will may be, says so",
}

_GAPS = {
    "session_lost": "the broker did not keep the session",
    "session_expired": "the session expired",
    "clean_session": "it has no persistent session",
    "filters_changed": "it was not subscribed to a new topic filter before",
    "offset_out_of_range": "Kafka had deleted records that presenced had not read",
    "state_lost": "Kafka's state topic was deleted, and presenced had no copy of the state",
    "rate_limit": "messages arrived at the rate limit, above which the broker discards them",
    "backlog_full": "the backlog was full",
}
_KAFKA_GAPS = {GapReason.OFFSET_OUT_OF_RANGE, GapReason.STATE_LOST}


_DOUBTS = {
    DoubtCause.GAP: "events may have been lost before presenced was started",
    DoubtCause.NO_LOOKUP: (
        "AWS should have been asked before it went offline, but the request failed, was not"
        " answered in time, or exceeded reconcile.lookups_per_second"
    ),
    DoubtCause.FIRST_DISCONNECT: (
        "its first event was a disconnect, and a connect after it may have been before presenced"
        " began to receive events"
    ),
    DoubtCause.STATUS: (
        "its status topic says something else, and no lifecycle event followed within the offline"
        " delay"
    ),
    DoubtCause.PROVISIONAL: (
        "AWS's record lags and was read soon after the start; a second snapshot settles it"
    ),
}


class ClientDetails(NamedTuple):
    """All that is known about one client at the time `now`. Times are in epoch seconds.

    `deadline` is when it goes offline or is forgotten; `held` is true while that is delayed until
    the backlog of events has been applied, `awaits_lookup` while AWS is asked whether it is
    connected. `doubt` is why it is unverified, None if it is verified.
    `held_until` is until when it is held as flapping, None if it is not. `troubles` are those of
    the last hour.
    """

    client: Client
    history: ClientHistory
    now: float
    deadline: float | None
    held: bool
    awaits_lookup: bool
    doubt: Doubt | None
    held_until: float | None = None
    troubles: Sequence[Trouble] = ()


def explain(details: ClientDetails) -> str:
    """Return a few sentences that explain the state of a client."""
    return " ".join(_sentences(details))


def _sentences(details: ClientDetails) -> Iterator[str]:
    client, history = details.client, details.history
    yield _state(details)
    is_taken_over = client.state is State.PENDING and client.reason == TAKEN_OVER
    if client.adopted and not is_taken_over:
        yield _adopted(history.record)
    elif (prevented := _prevented(details)) is not None:
        yield prevented
    decided = history.decided_for(client)
    lateness = decided.lateness if decided else None
    if lateness is not None and lateness >= _LATE:
        yield f"The event that led to this state came {_duration(lateness)} late."
    yield from _troubles(details)
    ignored = history.ignored
    if len(ignored) > 1:
        yield f"{len(ignored)} events have been ignored since then. The last:"
    if ignored:
        yield _ignored(ignored[-1], client)
    if awaited := len(client.replaced or ()):
        plural = "s" * (awaited > 1)
        yield f"The disconnect{plural} of {awaited} replaced connection{plural} may still come."
    if details.doubt is not None:
        yield _unverified(details.doubt)


def _troubles(details: ClientDetails) -> Iterator[str]:
    """Tell of takeovers, refusals and short interruptions."""
    client, history = details.client, details.history
    for trouble in details.troubles:
        if trouble.kind == "takeovers":
            yield (
                f"Its connection was taken over {trouble.number:,} times in the last hour,"
                f" {trouble.when}. If two devices use this client ID, neither works; a bad network"
                " can cause takeovers, too."
            )
    refused = history.last_by_type.get("connect_failed")
    if refused and client.state is not State.ONLINE and refused.received > (client.since or 0.0):
        why = f" ({refused.reason})" if refused.reason else ""
        yield f"It tried to connect again at {_time(refused.received)}, and was refused{why}."
    events = [entry for entry in history.entries if isinstance(entry, ReceivedEvent)]
    recent = [each for each in events if each.received > details.now - _HOUR]
    flaps = sum(each.effect is Effect.FLAP_SUPPRESSED for each in recent)
    if flaps:
        often = "once" if flaps == 1 else f"{flaps} times"
        # What happened before the oldest event may have been forgotten.
        is_all = len(recent) < len(events)
        when = "in the last hour" if is_all else f"since {_time(min(e.received for e in events))}"
        yield f"It reconnected within the offline delay {often} {when}."
    if details.held_until is not None:
        yield (
            f"Held as flapping until {_time(details.held_until)}, unless it disconnects again:"
            " alerts on single offline clients leave it out."
        )


def _adopted(record: RecordEntry | None) -> str:
    """Explain a state that follows from AWS's record."""
    if record is None or record.effect is RecordEffect.ADOPTED:
        return "AWS's record says so; no newer event of it has been received."
    if record.effect is RecordEffect.OFFLINE_PREVENTED:
        return _prevention(record)
    if record.effect is RecordEffect.CORRECTED:
        return (
            f"AWS's record ({record.operation}), asked at {_time(record.time)}, corrected its"
            " state: an event of it was lost or has not come yet."
        )
    return "Its last connection is known from AWS's record, not from an event."


def _prevented(details: ClientDetails) -> str | None:
    """Explain that a lookup kept a client online within the last hour."""
    record = details.history.record
    if record is None or record.effect is not RecordEffect.OFFLINE_PREVENTED:
        return None
    is_recent = record.time > details.now - _HOUR
    return _prevention(record) if is_recent and details.client.state is State.ONLINE else None


def _prevention(record: RecordEntry) -> str:
    return (
        f"At {_time(record.time)} it would have gone offline, but AWS ({record.operation}) answered"
        " that it is connected."
    )


def _unverified(doubt: Doubt) -> str:
    gap = doubt.gap
    if gap is not None:
        is_kafka = gap.reason in _KAFKA_GAPS
        where = f"in {gap.connection}" if is_kafka else f"on the connection {gap.connection}"
        return (
            f"In doubt since {_time(gap.at)}: events may have been lost {where}, because"
            f" {_GAPS[gap.reason]}."
        )
    return f"In doubt: {_DOUBTS[doubt.cause]}."


def _state(details: ClientDetails) -> str:
    client = details.client
    since = "" if client.since is None else f" since {_time(client.since)}"
    if client.state is State.UNKNOWN:
        return "Unknown: it is a thing in the registry, but no event of it has been received yet."
    if client.state is State.OFFLINE:
        return f"Offline{since}: {_reason(client.reason)}."
    if client.state is State.PENDING:
        return f"Disconnected{since}: {_reason(client.reason)}. {_pending(details)}"
    if client.source == "status":
        return f"Online{since}: its status topic says so."
    if not client.has_event:
        return f"Assumed online{since}: it subscribed, but its connect has not been received."
    return f"Online{since}."


def _reason(reason: str | None) -> str:
    if reason is None:
        return "no reason was given"
    return _REASONS.get(reason, f"the reason given is {reason}")


def _pending(details: ClientDetails) -> str:
    if details.awaits_lookup:
        return (
            "Its offline delay is over. AWS has been asked whether it is connected; without an"
            f" answer it goes offline within {LOOKUP_TIMEOUT:.0f} s."
        )
    if details.deadline is None or details.held:
        return (
            "It counts as online until presenced has caught up: a connect of it may be among the"
            " events that wait."
        )
    return f"It counts as offline from {_time(details.deadline)} on, unless it connects before."


def _ignored(event: ReceivedEvent, client: Client) -> str:
    name, when = _name(event.type, event.version), _time(event.received)
    if event.effect is Effect.DUPLICATE:
        return f"A second copy of the {name} came at {when} and was ignored."
    lateness = event.lateness or 0.0
    late = f", {_duration(lateness)} late," if lateness >= 1 else ""
    later = "last event"
    accepted = event.against
    if accepted is not None and client.adopted and accepted.timestamp == client.timestamp:
        later = "state in AWS's record"
    elif accepted is not None:
        later = _name("connected" if accepted.connected else "disconnected", accepted.version)
    return f"A {name} came at {when}{late} and was ignored: the {later} is later."


def _name(event_type: str, version: int | None) -> str:
    noun = "connect" if event_type == "connected" else "disconnect"
    return noun if version is None else f"{noun} of version {version}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(min(seconds, LATEST_TIME), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", _HOUR), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
