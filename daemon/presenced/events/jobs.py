"""Events of jobs, their executions, certificates and commands.

Fields as in "Jobs events", "Command events" and "Just-in-time registration" of the AWS IoT
developer guide. Job events carry their timestamp in seconds, the others in milliseconds.
"""

import msgspec

from presenced.events.model import (
    CertificateEvent,
    CommandExecutionEvent,
    Event,
    JobEvent,
    JobExecutionEvent,
)
from presenced.events.payloads import Payload, decode_payload, event_type, invalid, name
from presenced.events.topics import Route


class _JobPayload(Payload, rename="camel", gc=False):
    job_id: str | None = None
    thing_arn: str | None = None


class _CertificatePayload(Payload, rename="camel", gc=False):
    ca_certificate_id: str | None = None


class _CommandPayload(Payload, rename="camel", gc=False):
    status: str | None = None


_JOB = msgspec.json.Decoder(_JobPayload, strict=False)
_CERTIFICATE = msgspec.json.Decoder(_CertificatePayload, strict=False)
_COMMAND = msgspec.json.Decoder(_CommandPayload, strict=False)


def decode_job_event(route: Route, payload: bytes) -> Event:
    """Decode an event of a job or of a job execution. Raises `Rejected`."""
    fields = decode_payload(_JOB, payload)
    family = route.family if fields.event_type is None else fields.event_type.lower()
    if family not in ("job", "job_execution"):
        raise invalid("eventType is neither JOB nor JOB_EXECUTION")
    kind = event_type(family, fields.operation, route.type)
    disagrees = (family, kind) != (route.family, route.type)
    timestamp = fields.event_time
    job_id = name(fields.job_id, route.names[0])
    if family == "job":
        return JobEvent(type=kind, timestamp=timestamp, topic_disagrees=disagrees, job_id=job_id)
    return JobExecutionEvent(
        type=kind,
        timestamp=timestamp,
        topic_disagrees=disagrees,
        job_id=job_id,
        thing_name=fields.thing_arn.partition("/")[2] if fields.thing_arn else None,
    )


def decode_certificate_event(route: Route, payload: bytes) -> Event:
    """Decode the registration of a certificate. Raises `Rejected`."""
    fields = decode_payload(_CERTIFICATE, payload)
    return CertificateEvent(
        type=route.type,
        timestamp=fields.event_time,
        ca_certificate_id=name(fields.ca_certificate_id, route.names[0]),
    )


def decode_command_event(route: Route, payload: bytes) -> Event:
    """Decode an event of a command execution. Raises `Rejected`."""
    fields = decode_payload(_COMMAND, payload)
    kind = event_type(route.family, fields.status, route.type)
    return CommandExecutionEvent(
        type=kind,
        timestamp=fields.event_time,
        topic_disagrees=kind != route.type,
        command_id=name(route.names[0]),
    )
