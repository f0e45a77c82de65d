"""What the documents of the API look like, as JSON Schema (2020-12)."""

from __future__ import annotations

from typing import Any

from presenced.api.history import Effect
from presenced.outages import GapReason
from presenced.presence import State

__all__ = ["SCHEMAS"]

Node = dict[str, Any]


def _object(description: str, **members: Node) -> Node:
    """An object that has exactly these members."""
    return {
        "type": "object",
        "description": description,
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _or_null(node: Node) -> Node:
    return {"anyOf": [node, {"type": "null"}]}


def _list(items: Node, description: str) -> Node:
    return {"type": "array", "items": items, "description": description}


def _by_name(values: Node, description: str) -> Node:
    return {"type": "object", "additionalProperties": values, "description": description}


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _says(node: Node, description: str) -> Node:
    return {**node, "description": description}


def _among(*values: str) -> Node:
    return {"type": "string", "enum": list(values)}


_TEXT: Node = {"type": "string"}
_COUNT: Node = {"type": "integer", "minimum": 0}
_FLAG: Node = {"type": "boolean"}
_TIME: Node = {"type": "string", "format": "date-time"}
_STATE = _among(*State)
_TRANSITION = _among(State.ONLINE, State.OFFLINE)
_VERSION = _says(_or_null(_COUNT), "The version number of the connection.")
_SESSION = _says(_or_null(_TEXT), "The session identifier of the connection.")
_REASON = _says(_or_null(_TEXT), "The reason that came with the disconnect.")
_EVENT_TIME = _says(_or_null(_TIME), "When it happened, by the event itself; approximate.")

_CLIENT = {
    "client_id": _TEXT,
    "state": _STATE,
    "since": _says(
        _or_null(_TIME),
        "When the state began, by received time; null for an unknown client.",
    ),
    "last_transition": _says(
        _or_null(_TIME), "When it last went online or offline; null before it did."
    ),
    "reason": _REASON,
    "version": _VERSION,
    "session": _SESSION,
    "verified": _says(_FLAG, "False where events of it may have been lost since it was heard of."),
    "thing": _says(_or_null(_TEXT), "The thing of the registry that it is."),
    "thing_type": _or_null(_TEXT),
    "thing_groups": _list(_TEXT, "The groups that its thing is a direct member of."),
    "classes": _by_name(_TEXT, "The named groups of metrics.client_id_pattern."),
}

_EVENT = {
    "type": _among("connected", "disconnected", "connect_failed", "subscribed", "unsubscribed"),
    "received_at": _says(_or_null(_TIME), "Null for an event that came before what is remembered."),
    "event_time": _EVENT_TIME,
    "late_seconds": _says(_or_null({"type": "number"}), "From event time until it was received."),
    "version": _VERSION,
    "session": _SESSION,
    "reason": _REASON,
    "effect": _says(_or_null(_among(*Effect)), "What it did; null where that is not remembered."),
    "against": _says(
        _or_null(_ref("Rival")), "The event that an ignored one was measured against."
    ),
}

SCHEMAS: Node = {
    "Client": _object("A client.", **_CLIENT),
    "Clients": _object(
        "A page of clients.",
        clients=_list(_ref("Client"), "In the order that was asked for."),
        next_cursor=_says(_or_null(_TEXT), "For the next page; null where this is the last."),
    ),
    "Story": _object(
        "Everything about a client.",
        **_CLIENT,
        explanation=_says(_TEXT, "Why it is in its state, in English sentences."),
        decided_by=_says(
            _or_null(_ref("Event")), "The lifecycle event that its state follows from."
        ),
        ignored=_list(_ref("Event"), "What came after that and was ignored."),
        last_events=_by_name(_ref("Event"), "The last event of each type."),
        deadline=_says(
            _or_null(
                _object(
                    "What becomes of it when time goes on.",
                    then=_among("offline", "forgotten"),
                    at=_or_null(_TIME),
                    held=_says(_FLAG, "Put off, until what was published meanwhile has come."),
                )
            ),
            "Null where there is none.",
        ),
        unverified=_says(
            _or_null(
                _object(
                    "The gap in which events of it may have been lost.",
                    since=_or_null(_TIME),
                    reason=_says(
                        _or_null(_among(*GapReason)),
                        "Null where the gap came before presenced was started.",
                    ),
                    connection=_or_null(_TEXT),
                )
            ),
            "Null where it is verified.",
        ),
        awaited_disconnects=_says(
            _COUNT, "How many connections were replaced whose disconnect may still come."
        ),
        attributes=_by_name(_TEXT, "Those of its thing that metrics.thing_attributes names."),
    ),
    "Event": _object("An event about a client.", **_EVENT),
    "Rival": _object(
        "The event that an ignored one was measured against.",
        type=_among("connected", "disconnected"),
        event_time=_EVENT_TIME,
        version=_VERSION,
        session=_SESSION,
    ),
    "History": _object(
        "What has happened to a client, as far as it is remembered.",
        client_id=_TEXT,
        entries=_list({"oneOf": [_ref("HistoryEvent"), _ref("Confirmation")]}, "The newest first."),
        kept_per_client=_says(_COUNT, "How many entries are remembered at most."),
    ),
    "HistoryEvent": _object("An event.", kind={"const": "event"}, **_EVENT),
    "Confirmation": _object(
        "The offline delay was over, and the client went offline.",
        kind={"const": "confirmed_offline"},
        at=_TIME,
        since=_says(_TIME, "When its disconnect was received."),
        reason=_REASON,
    ),
    "Summary": _object(
        "The fleet in numbers. Totals count from when the state file was made, or from the start.",
        version=_says(_TEXT, "That of presenced."),
        time=_TIME,
        ready=_says(_FLAG, "Whether every connection is up and every filter granted."),
        readiness=_says(_TEXT, "The same in words, with what is wrong."),
        clients=_by_name(_COUNT, "Clients by state."),
        unverified=_says(_COUNT, "Clients of which events may have been lost."),
        transitions=_by_name(_COUNT, "Transitions by the state that they led to."),
        flaps_suppressed=_says(_COUNT, "Interruptions shorter than the offline delay."),
        disconnects=_by_name(_COUNT, "Disconnects by reason."),
        things=_COUNT,
        thing_types=_COUNT,
        thing_groups=_COUNT,
    ),
    "Transition": _object(
        "A client went online or offline.",
        client_id=_TEXT,
        state=_TRANSITION,
        previous=_STATE,
        since=_says(_TIME, "When the event was received that led to it."),
        confirmed_at=_says(_TIME, "When it was sure, which may be an offline delay later."),
        reason=_REASON,
    ),
    "Problem": {
        "type": "object",
        "description": "What is wrong with a request (RFC 9457).",
        "properties": {
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _says(_TEXT, "What is wrong, and what to do about it."),
            "parameter": _says(_TEXT, "The parameter that is wrong."),
            "value": _says(_TEXT, "Its value, or what it begins with."),
            "allowed": _says(
                {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}, "What it may be."
            ),
        },
        "required": ["title", "status", "detail"],
    },
}
