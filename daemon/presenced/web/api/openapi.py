"""The OpenAPI document of the API, of which this is the only place.

What the documents of the API look like, as JSON Schema (2020-12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from presenced import __version__
from presenced.presence import Effect, State
from presenced.sources.gaps import GapReason
from presenced.web.api.page_scan import Order
from presenced.web.api.requests import MOST_CLIENTS, PAGE

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


_BASE = "/api/v1"


def document(classes: Sequence[str] = ()) -> Node:
    """The document, for a fleet whose client IDs have these classes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "presenced",
            "version": __version__,
            "description": "Which devices of an AWS IoT Core fleet are online, and why.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            f"{_BASE}/clients": {"get": _clients(classes)},
            f"{_BASE}/clients/{{client_id}}": {"get": _client()},
            f"{_BASE}/clients/{{client_id}}/history": {"get": _history()},
            f"{_BASE}/summary": {"get": _summary()},
            f"{_BASE}/events": {"get": _events()},
            f"{_BASE}/openapi.json": {"get": _itself()},
        },
        "components": {"schemas": SCHEMAS},
    }


def _operation(
    name: str, summary: str, told: Node, parameters: Sequence[Node] = (), **problems: str
) -> Node:
    """A way to ask, and what may come of it: `told`, or problems by status."""
    codes = {"400": "A parameter is wrong; the answer tells which, and what is allowed."}
    codes |= {code.removeprefix("status_"): why for code, why in problems.items()}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": told,
            **{code: _problem(why) for code, why in sorted(codes.items())},
            **_GATE,
        },
    }


def _plain(description: str) -> Node:
    return {
        "description": description,
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }


_GATE = {
    "401": _plain("The web configuration asks for a user and a password."),
    "403": _plain("The client certificate has none of the names that may ask."),
    "429": _plain("The rate limit of the web configuration is reached; see Retry-After."),
}


def _problem(description: str) -> Node:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _json(description: str, schema: str) -> Node:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _query(name: str, description: str, schema: Node) -> Node:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _choices(name: str, description: str, values: Sequence[str]) -> Node:
    items = {"type": "string", "enum": list(values)}
    return _query(name, description, {"type": "array", "items": items}) | {"explode": True}


_PREFIX = _query("prefix", "What client IDs begin with.", {"type": "string"})
_CLIENT_ID = {
    "name": "client_id",
    "in": "path",
    "required": True,
    "description": "The client ID, percent-encoded; a slash in it may stand as it is.",
    "schema": {"type": "string", "minLength": 1},
}


def _clients(classes: Sequence[str]) -> Node:
    parameters = [
        _choices("state", "Clients in one of these states.", list(State)),
        _query(
            "thing_type",
            "Clients whose thing is of this type; empty for those without one.",
            {"type": "string"},
        ),
        _query(
            "thing_group",
            "Clients whose thing is in this group or below it; empty for those in none.",
            {"type": "string"},
        ),
        _PREFIX,
        _query(
            "sort",
            "The order; a minus goes from the last to the first. `since` is when the present state"
            " began, and of clients with the same the client ID decides.",
            {"type": "string", "enum": list(Order), "default": Order.CLIENT_ID},
        ),
        _query(
            "limit",
            "How many clients there are on a page at most.",
            {"type": "integer", "minimum": 1, "maximum": MOST_CLIENTS, "default": PAGE},
        ),
        _query(
            "cursor",
            "Where the page before this one ended: its `next_cursor`. All other parameters must be"
            " as they were.",
            {"type": "string", "format": "cursor"},
        ),
    ]
    if classes:
        items = {"type": "string", "pattern": f"^({'|'.join(classes)}):"}
        classed = _query(
            "class",
            "Clients of this class: NAME:VALUE of a named group of metrics.client_id_pattern. Of"
            " several all must be true.",
            {"type": "array", "items": items},
        )
        parameters.insert(3, classed | {"explode": True})
    told = _json("A page of clients, sorted.", "Clients")
    busy = "Too many lists are being made at the moment; see Retry-After."
    return _operation("listClients", "Clients, page by page", told, parameters, status_503=busy)


def _client() -> Node:
    told = _json("The client.", "Story")
    return _operation(
        "getClient",
        "One client, and why it is in its state",
        told,
        [_CLIENT_ID],
        status_404="No such client is known.",
    )


def _history() -> Node:
    told = _json("What is remembered, the newest first.", "History")
    return _operation(
        "getClientHistory",
        "What has happened to one client",
        told,
        [_CLIENT_ID],
        status_404="No such client is known.",
    )


def _summary() -> Node:
    return _operation("getSummary", "The fleet in numbers", _json("The numbers.", "Summary"))


def _events() -> Node:
    parameters = [
        _query("client_id", "Transitions of this client only.", {"type": "string"}),
        _PREFIX,
        _choices("state", "Transitions to one of these states.", [State.ONLINE, State.OFFLINE]),
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The ID of the last event received: what came after it is told first.",
            "schema": {"type": "string"},
        },
    ]
    told = {
        "description": "Server-sent events: `transition` with a Transition, and `lost` with a"
        " number of those that were not told because too many waited, or null.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    full = "As many listen as may at the same time; see Retry-After."
    return _operation("listen", "Transitions as they happen", told, parameters, status_503=full)


def _itself() -> Node:
    told = {
        "description": "This document.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    return _operation("getDocument", "This document", told)
