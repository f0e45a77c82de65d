"""From one MQTT message to one typed event."""

from presenced.events.clients import decode_client_event, decode_published
from presenced.events.jobs import (
    decode_certificate_event,
    decode_command_event,
    decode_job_event,
)
from presenced.events.model import REGISTRY_FAMILIES, Event, Rejected, RejectionReason
from presenced.events.registry import decode_registry_event
from presenced.events.topics import route

MAX_PAYLOAD = 128 * 1024
"""Largest payload that AWS IoT Core carries, in bytes ("AWS IoT Core quotas")."""

_DECODERS = {
    **dict.fromkeys(REGISTRY_FAMILIES, decode_registry_event),
    "job": decode_job_event,
    "job_execution": decode_job_event,
    "certificate": decode_certificate_event,
    "command_execution": decode_command_event,
}


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
    return _DECODERS[found.family](found, payload)
