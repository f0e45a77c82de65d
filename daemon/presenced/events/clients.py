"""Events about clients: connects, disconnects, refusals and subscriptions.

Fields as in "Lifecycle events" of the AWS IoT developer guide. Principal and IP address are not
even read.
"""

import msgspec

from presenced.events.model import ConnectFailedEvent, Event, LifecycleEvent, SubscriptionEvent
from presenced.events.topics import Route
from presenced.events.wire import (
    Number,
    Payload,
    decode_payload,
    event_time,
    invalid,
    name,
    version,
)

__all__ = ["DECODERS"]

_TYPES = frozenset({"connected", "disconnected", "connect_failed", "subscribed", "unsubscribed"})
_BOOLEANS = {"true": True, "false": False}
# Kept with each client, so nobody may make them long. AWS's session identifiers are UUIDs (36
# characters), its longest disconnectReason has 27; a cut one is as good as any that is unknown.
_MAX_SESSION = 128
_MAX_REASON = 64


class _ClientPayload(Payload, rename="camel", gc=False):
    client_id: str | None = None
    thing_name: str | None = None
    session_identifier: str | None = None
    version_number: Number = None
    client_initiated_disconnect: bool | str | None = None
    disconnect_reason: str | None = None
    connect_failure_reason: str | None = None


_DECODER = msgspec.json.Decoder(_ClientPayload)


def _decode_client_event(route: Route, payload: bytes, received: float) -> Event:
    fields = decode_payload(_DECODER, payload)
    event_type = route.type
    if fields.event_type is not None and fields.event_type != event_type:
        event_type = fields.event_type.lower()
        if event_type not in _TYPES:
            raise invalid("eventType is none of a client's events")
    client_id = name(fields.client_id, route.names[0])
    timestamp = event_time(fields.timestamp)
    disagrees = event_type != route.type
    if event_type in ("connected", "disconnected"):
        disconnected = event_type == "disconnected"
        return LifecycleEvent(
            type=event_type,
            timestamp=round(received * 1000) if timestamp is None else timestamp,
            untimed=timestamp is None,
            topic_disagrees=disagrees,
            client_id=client_id,
            connected=not disconnected,
            version=version(fields.version_number),
            session=_cut(fields.session_identifier, _MAX_SESSION),
            # A connected event of 2019 carries clientInitiatedDisconnect, too.
            reason=_cut(fields.disconnect_reason, _MAX_REASON) if disconnected else None,
            client_initiated=_initiated(fields) if disconnected else None,
            thing_name=name(fields.thing_name) if fields.thing_name else None,
        )
    if event_type == "connect_failed":
        return ConnectFailedEvent(
            type=event_type,
            timestamp=timestamp,
            topic_disagrees=disagrees,
            client_id=client_id,
            reason=_cut(fields.connect_failure_reason, _MAX_REASON),
        )
    return SubscriptionEvent(
        type=event_type,
        timestamp=timestamp,
        topic_disagrees=disagrees,
        client_id=client_id,
        session=_cut(fields.session_identifier, _MAX_SESSION),
        thing_name=name(fields.thing_name) if fields.thing_name else None,
    )


def _cut(text: str | None, longest: int) -> str | None:
    return text[:longest] if text else None


def _initiated(fields: _ClientPayload) -> bool | None:
    told = fields.client_initiated_disconnect
    if isinstance(told, str):
        if told.lower() not in _BOOLEANS:
            raise invalid("clientInitiatedDisconnect is not a boolean")
        return _BOOLEANS[told.lower()]
    return told


DECODERS = {"presence": _decode_client_event, "subscriptions": _decode_client_event}
