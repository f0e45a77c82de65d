"""From one MQTT message to one typed event."""

from presenced.events.clients import decode_client_event, decode_published
from presenced.events.model import Event, Rejected, RejectionReason
from presenced.events.resources import decode_resource_event
from presenced.events.topics import route

MAX_PAYLOAD = 128 * 1024
"""Largest payload that AWS IoT Core carries, in bytes ("AWS IoT Core quotas")."""


def decode(topic: str, payload: bytes, received: float) -> Event:
    """Decode a message.

    The topic selects the decoder. If the payload names another type or family of events, the
    payload decides and `topic_disagrees` is set. `received`, in seconds since the epoch, is the
    time of a lifecycle event that carries none. Raises `Rejected` for every message that is not an
    event, and nothing else, whatever the bytes are.
    """
    if len(payload) <= MAX_PAYLOAD and (event := decode_published(topic, payload)):
        return event
    found = route(topic)
    if len(payload) > MAX_PAYLOAD:
        raise Rejected(
            RejectionReason.TOO_LARGE, f"{len(payload)} bytes, more than AWS IoT Core carries"
        )
    if found.family in ("presence", "subscriptions"):
        return decode_client_event(found, payload, received)
    return decode_resource_event(found, payload)
