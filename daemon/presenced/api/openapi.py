"""The OpenAPI document of the API, of which this is the only place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from presenced import __version__
from presenced.api import schemas
from presenced.api.parameters import MOST_CLIENTS, PAGE
from presenced.api.selection import Order
from presenced.presence import State

__all__ = ["document"]

Node = dict[str, Any]

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
        "components": {"schemas": schemas.SCHEMAS},
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
