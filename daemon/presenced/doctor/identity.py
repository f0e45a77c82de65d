"""The client IDs under which the doctor connects: never those of the running daemon.

A broker ends a connection when another one comes with the same client ID (MQTT 5 section 3.1.4),
so a doctor that used the daemon's would throw it off.
"""

from presenced.settings import MqttSettings

__all__ = ["doctor_client_id", "probe_client_id", "visitors"]


def doctor_client_id(client_id: str) -> str:
    """The client ID of the doctor of a daemon with this one."""
    return f"{client_id}-doctor"


def probe_client_id(client_id: str) -> str:
    """The client ID of the short connection by which a doctor with this one provokes events."""
    return f"{client_id}-probe"


def visitors(mqtt: MqttSettings) -> list[str]:
    """Every client ID that the doctor uses beside the daemon's: not clients of the fleet."""
    doctor = mqtt.model_copy(update={"client_id": doctor_client_id(mqtt.client_id)})
    probes = map(probe_client_id, (*mqtt.client_ids, *doctor.client_ids))
    return [*doctor.client_ids, *probes]
