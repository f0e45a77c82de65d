"""The OpenAPI document: the operations, declared here, and the schemas of their answers."""

from collections.abc import Sequence
from typing import Any

import msgspec

from presenced import __version__
from presenced.web.api import activity_answers, answers
from presenced.web.api.parameters import (
    RECENT_PARAMETERS,
    STREAM_PARAMETERS,
    Parameter,
    list_parameters,
)

Node = dict[str, Any]

_REF = "#/components/schemas/{name}"
_BASE = "/api/v1"
_CLIENT_ID: Node = {
    "name": "client_id",
    "in": "path",
    "required": True,
    "description": "The client ID, percent-encoded; slashes may be left unencoded.",
    "schema": {"type": "string", "minLength": 1},
}
_LAST_EVENT_ID: Node = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The ID of the last event received; the events after it are sent first.",
    "schema": {"type": "string"},
}
_BAD_REQUEST = {
    "400": "A parameter is wrong; the answer says which one and what is allowed.",
    "406": "The Accept header excludes the format of the answer.",
}
_REFUSALS = {
    "401": "The web configuration requires a user and a password.",
    "403": "A page of another site made the request, the Host header has a name that is not in"
    " metrics.allowed_hosts, or the client certificate has none of the allowed names.",
    "429": "The rate limit of the web configuration is exceeded; see Retry-After.",
}
_NOT_SHOWN = "A worker shows no clients, because other workers may have its partitions by now"
_UNKNOWN_CLIENT = {
    "404": "The client is not known. A worker of Kafka knows those in its partitions only.",
    "503": f"{_NOT_SHOWN}; see Retry-After.",
}


def document(classes: Sequence[str] = ()) -> Node:
    """Return the document, for a fleet whose client IDs have these classes."""
    structs = (*answers.ANSWERS, *activity_answers.ANSWERS)
    _, components = msgspec.json.schema_components(structs, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "presenced",
            "version": __version__,
            "description": "Which devices of an AWS IoT Core fleet are online, and why.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {f"{_BASE}{path}": {"get": node} for path, node in _operations(classes).items()},
        "components": {"schemas": components},
    }


def _operations(classes: Sequence[str]) -> dict[str, Node]:
    return {
        "/clients": _operation(
            "listClients",
            "Clients, page by page",
            _json("A sorted page of clients.", answers.Clients),
            [_query(parameter) for parameter in list_parameters(classes)],
            {
                "503": "Too many lists are being prepared at the moment, or a partition has moved"
                f" meanwhile. {_NOT_SHOWN}. See Retry-After."
            },
        ),
        "/clients/{client_id}": _operation(
            "getClient",
            "One client, and why it is in its state",
            _json("The client.", answers.Story),
            [_CLIENT_ID],
            _UNKNOWN_CLIENT,
        ),
        "/clients/{client_id}/history": _operation(
            "getClientHistory",
            "The history of one client",
            _json("The remembered events, newest first.", answers.History),
            [_CLIENT_ID],
            _UNKNOWN_CLIENT,
        ),
        "/summary": _operation(
            "getSummary", "The fleet in numbers", _json("The numbers.", answers.Summary)
        ),
        "/overview": _operation(
            "getOverview",
            "The fleet in one look",
            _json("The overview.", activity_answers.Overview),
            problems={"503": f"{_NOT_SHOWN}; see Retry-After."},
        ),
        "/recent": _operation(
            "listRecent",
            "What happened in the last hours",
            _json("Transitions and mass events, newest first.", activity_answers.Recent),
            [_query(parameter) for parameter in RECENT_PARAMETERS],
            {"503": f"{_NOT_SHOWN}; see Retry-After."},
        ),
        "/flapping": _operation(
            "listFlappingClients",
            "The clients whose connections end most often",
            _json("The clients, the worst first.", answers.Flapping),
            problems={"503": f"{_NOT_SHOWN}; see Retry-After."},
        ),
        "/events": _operation(
            "listen",
            "Transitions as they happen",
            _content(
                "Server-sent events: `transition` with a Transition, and `lost` with the number of"
                " transitions that were dropped because too many were pending, or null.",
                "text/event-stream",
                {"type": "string"},
            ),
            [*(_query(parameter) for parameter in STREAM_PARAMETERS), _LAST_EVENT_ID],
            {"503": f"The maximum number of streams is open. {_NOT_SHOWN}. See Retry-After."},
        ),
        "/openapi.json": _operation(
            "getDocument",
            "This document",
            _content("This document.", "application/json", {"type": "object"}),
        ),
    }


def _operation(
    name: str,
    summary: str,
    success: Node,
    parameters: Sequence[Node] = (),
    problems: dict[str, str] = {},  # noqa: B006 -- it is not changed
) -> Node:
    responses = {"200": success}
    for status, description in (_BAD_REQUEST | problems).items():
        responses[status] = _content(description, "application/problem+json", _ref(answers.Problem))
    for status, description in _REFUSALS.items():
        responses[status] = _content(description, "text/plain", {"type": "string"})
    return {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": responses,
    }


def _query(parameter: Parameter) -> Node:
    return {**parameter._asdict(), "in": "query"}


def _json(description: str, answer: type[msgspec.Struct]) -> Node:
    return _content(description, "application/json", _ref(answer))


def _ref(answer: type[msgspec.Struct]) -> Node:
    return {"$ref": _REF.format(name=answer.__name__)}


def _content(description: str, content_type: str, schema: Node) -> Node:
    return {"description": description, "content": {content_type: {"schema": schema}}}
