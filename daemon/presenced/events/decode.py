"""From one MQTT message to one typed event."""

from presenced.events import clients, jobs, registry
from presenced.events.model import Event, Rejected, RejectionReason
from presenced.events.topics import route

MAX_PAYLOAD = 128 * 1024
"""Largest payload that AWS IoT Core carries, in bytes ("AWS IoT Core quotas")."""

_DECODERS = {**clients.DECODERS, **registry.DECODERS, **jobs.DECODERS}


def decode(topic: str, payload: bytes, received: float) -> Event:
    """The event that a message tells.

    The topic routes; where the payload names another type, or an other family of events, the
    payload decides and `topic_disagrees` is set. `received`, in seconds since the epoch, stands in
    for the event time of a lifecycle event that carries none. Raises `Rejected` for everything that
    is no event, and nothing else, whatever the bytes are.
    """
    if len(payload) <= MAX_PAYLOAD and (event := clients.decode_published(topic, payload)):
        return event
    found = route(topic)
    if len(payload) > MAX_PAYLOAD:
        raise Rejected(
            RejectionReason.TOO_LARGE, f"{len(payload)} bytes, more than AWS IoT Core carries"
        )
    return _DECODERS[found.family](found, payload, received)
