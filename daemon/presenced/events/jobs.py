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
from presenced.events.topics import Route, normal_type
from presenced.events.wire import Payload, decode_payload, event_time, invalid, name


class _JobPayload(Payload, rename="camel", gc=False):
    job_id: str | None = None
    thing_arn: str | None = None


class _CertificatePayload(Payload, rename="camel", gc=False):
    ca_certificate_id: str | None = None


class _CommandPayload(Payload, rename="camel", gc=False):
    status: str | None = None


_JOB = msgspec.json.Decoder(_JobPayload)
_CERTIFICATE = msgspec.json.Decoder(_CertificatePayload)
_COMMAND = msgspec.json.Decoder(_CommandPayload)

_JOB_FAMILIES = {"JOB": "job", "JOB_EXECUTION": "job_execution"}


def _decode_job(route: Route, payload: bytes, _received: float) -> Event:
    fields = decode_payload(_JOB, payload)
    family = route.family
    if fields.event_type is not None:
        family = _JOB_FAMILIES.get(fields.event_type.upper(), "")
        if not family:
            raise invalid("eventType is neither JOB nor JOB_EXECUTION")
    event_type = _type(family, fields.operation, route.type)
    disagrees = (family, event_type) != (route.family, route.type)
    timestamp = event_time(fields.timestamp)
    job_id = name(fields.job_id, route.names[0])
    if family == "job":
        return JobEvent(
            type=event_type, timestamp=timestamp, topic_disagrees=disagrees, job_id=job_id
        )
    return JobExecutionEvent(
        type=event_type,
        timestamp=timestamp,
        topic_disagrees=disagrees,
        job_id=job_id,
        thing_name=fields.thing_arn.partition("/")[2] if fields.thing_arn else None,
    )


def _decode_certificate(route: Route, payload: bytes, _received: float) -> Event:
    fields = decode_payload(_CERTIFICATE, payload)
    return CertificateEvent(
        type=route.type,
        timestamp=event_time(fields.timestamp),
        ca_certificate_id=name(fields.ca_certificate_id, route.names[0]),
    )


def _decode_command(route: Route, payload: bytes, _received: float) -> Event:
    fields = decode_payload(_COMMAND, payload)
    event_type = _type(route.family, fields.status, route.type)
    return CommandExecutionEvent(
        type=event_type,
        timestamp=event_time(fields.timestamp),
        topic_disagrees=event_type != route.type,
        command_id=name(route.names[0]),
    )


def _type(family: str, told: str | None, topic_type: str) -> str:
    event_type = topic_type if told is None else normal_type(family, told)
    if event_type is None:
        raise invalid("operation is none of this family's")
    return event_type


DECODERS = {
    "job": _decode_job,
    "job_execution": _decode_job,
    "certificate": _decode_certificate,
    "command_execution": _decode_command,
}
