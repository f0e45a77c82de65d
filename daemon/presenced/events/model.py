"""Typed events, one class for each family of AWS IoT Core event messages.

Families and types are those of the topics below `$aws/events/` ("Event messages" and "Lifecycle
events" in the AWS IoT developer guide), and `status` for the topics of `presence.status_topics`.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

import msgspec

DISCONNECT_REASONS = (
    "AUTH_ERROR",
    "CLIENT_INITIATED_DISCONNECT",
    "CLIENT_ERROR",
    "CONNECTION_LOST",
    "DUPLICATE_CLIENTID",
    "FORBIDDEN_ACCESS",
    "MQTT_KEEP_ALIVE_TIMEOUT",
    "SERVER_ERROR",
    "SERVER_INITIATED_DISCONNECT",
    "API_INITIATED_DISCONNECT",
    "THROTTLED",
    "WEBSOCKET_TTL_EXPIRATION",
    "CUSTOMAUTH_TTL_EXPIRATION",
)
"""Values of `disconnectReason` listed by AWS ("Lifecycle events"). Others may occur."""

CONNECT_FAILURE_REASONS = ("AUTHORIZATION_FAILED",)
"""Values of `connectFailureReason` listed by AWS ("Lifecycle events"). Others may occur."""

REGISTRY_FAMILIES = (
    "thing",
    "thing_type",
    "thing_type_association",
    "thing_group",
    "thing_group_membership",
    "thing_group_hierarchy",
)
"""Families of events about changes of the registry."""

TALLIED_FAMILIES = ("job", "job_execution", "command_execution")
"""Families of events that are counted by type and have no other effect."""

_CHANGED = ("created", "updated", "deleted")
_LINKED = ("added", "removed")

EVENT_TYPES = MappingProxyType(
    {
        "presence": ("connected", "disconnected", "connect_failed"),
        "subscriptions": ("subscribed", "unsubscribed"),
        "status": ("online", "offline"),
        "thing": _CHANGED,
        "thing_type": _CHANGED,
        "thing_type_association": _LINKED,
        "thing_group": _CHANGED,
        "thing_group_membership": _LINKED,
        "thing_group_hierarchy": _LINKED,
        "job": (
            "completed",
            "canceled",
            "deleted",
            "cancellation_in_progress",
            "deletion_in_progress",
        ),
        "job_execution": (
            "succeeded",
            "failed",
            "rejected",
            "canceled",
            "timed_out",
            "removed",
            "deleted",
        ),
        "certificate": ("registered",),
        "command_execution": (
            "created",
            "in_progress",
            "succeeded",
            "failed",
            "timed_out",
            "rejected",
            "other",
        ),
    }
)
"""The types of each family. `other` stands for all types of an open set that are not listed."""


class Event(msgspec.Struct, kw_only=True, gc=False):
    """The fields of every event.

    `type` is one of `EVENT_TYPES[family]`. `timestamp` is the event time in milliseconds since the
    epoch, None if the message carries none. `topic_disagrees` is set if topic and payload name
    different types or families; the event has those of the payload.
    """

    family: ClassVar[str]
    type: str
    timestamp: int | None = None
    topic_disagrees: bool = False


class LifecycleEvent(Event, gc=False):
    """A client connected or disconnected.

    The connect and the disconnect of one connection have the same `session` and `version`.
    `reason` and `client_initiated` are None for connects, and if AWS leaves them out. `untimed` is
    set if the message carries no event time, or one that cannot be right; `timestamp` is then the
    received time, or that of the client's last event if that is later.
    """

    family = "presence"
    client_id: str
    connected: bool
    timestamp: int
    untimed: bool = False
    version: int | None = None
    session: str | None = None
    reason: str | None = None
    client_initiated: bool | None = None
    thing_name: str | None = None


class ConnectFailedEvent(Event, kw_only=True, gc=False):
    """A connect was refused. The client may be online or offline."""

    family = "presence"
    client_id: str
    reason: str | None = None


class SubscriptionEvent(Event, kw_only=True, gc=False):
    """A client subscribed or unsubscribed. The event has no version."""

    family = "subscriptions"
    client_id: str
    session: str | None = None
    thing_name: str | None = None


class StatusEvent(Event, kw_only=True, gc=False):
    """A client, or its Last Will, published on its status topic whether it is online.

    A `retained` message is the latest one of its topic, sent because of a new subscription: a state
    without a time (MQTT 5 section 3.3.1.3). `timestamp` is always None.
    """

    family = "status"
    client_id: str
    connected: bool
    retained: bool = False


class RegistryEvent(Event, kw_only=True):
    """A thing, a thing type, a thing group or a link between them changed."""

    family = ""


class ThingEvent(RegistryEvent, kw_only=True):
    """A thing was created, updated or deleted.

    `version` is that of the registry, which is unrelated to presence. A thing that is created with
    the name of a deleted one has another `thing_id`.
    """

    family = "thing"
    thing_name: str
    thing_id: str | None = None
    version: int | None = None
    thing_type: str | None = None
    attributes: dict[str, str | None] = {}


class ThingTypeEvent(RegistryEvent, kw_only=True):
    """A thing type was created, updated or deleted. Deprecation is an update."""

    family = "thing_type"
    thing_type: str
    thing_type_id: str | None = None
    deprecated: bool = False
    searchable_attributes: list[str] = []
    propagating_attributes: list[str] = []


class ThingTypeAssociationEvent(RegistryEvent, kw_only=True, gc=False):
    """A thing type was added to a thing, or removed from it."""

    family = "thing_type_association"
    thing_name: str
    thing_type: str


class ThingGroupEvent(RegistryEvent, kw_only=True):
    """A thing group was created, updated or deleted. `parent` is None at the top.

    `ancestors` are the groups above it at that time, the one at the top first; a name that the
    message does not give is empty.
    """

    family = "thing_group"
    thing_group: str
    thing_group_id: str | None = None
    version: int | None = None
    parent: str | None = None
    ancestors: list[str] = []
    attributes: dict[str, str | None] = {}


class ThingGroupMembershipEvent(RegistryEvent, kw_only=True, gc=False):
    """A thing was added to a group, or removed from it."""

    family = "thing_group_membership"
    thing_group: str
    thing_name: str


class ThingGroupHierarchyEvent(RegistryEvent, kw_only=True, gc=False):
    """A child group was added to a group, or removed from it."""

    family = "thing_group_hierarchy"
    thing_group: str
    child: str


class JobEvent(Event, kw_only=True, gc=False):
    """A job ended, or its cancellation or deletion began."""

    family = "job"


class JobExecutionEvent(Event, kw_only=True, gc=False):
    """The execution of a job on one thing ended."""

    family = "job_execution"


class CertificateEvent(Event, kw_only=True, gc=False):
    """A certificate was registered by just-in-time registration."""

    family = "certificate"


class CommandExecutionEvent(Event, kw_only=True, gc=False):
    """The execution of a command changed its status."""

    family = "command_execution"


class RejectionReason(StrEnum):
    """Why a message is not an event: the label values of `iot_events_rejected_total`."""

    MALFORMED_JSON = "malformed_json"
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_TOPIC = "unknown_topic"
    TOO_LARGE = "too_large"


class Rejected(Exception):  # noqa: N818 - an ordinary result for untrusted input, not an error
    """A message is not an event; `reason` is counted and `detail` is logged.

    `detail` never quotes the payload, which may contain principals and IP addresses.
    """

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
