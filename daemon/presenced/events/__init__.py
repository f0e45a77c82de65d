"""Topics and payloads of AWS IoT Core event messages, made into typed events. Pure."""

from presenced.events.decode import decode
from presenced.events.model import (
    EVENT_TYPES,
    CertificateEvent,
    CommandExecutionEvent,
    ConnectFailedEvent,
    Event,
    JobEvent,
    JobExecutionEvent,
    LifecycleEvent,
    RegistryEvent,
    SubscriptionEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced.events.rejection import Rejected, RejectionReason

__all__ = [
    "EVENT_TYPES",
    "CertificateEvent",
    "CommandExecutionEvent",
    "ConnectFailedEvent",
    "Event",
    "JobEvent",
    "JobExecutionEvent",
    "LifecycleEvent",
    "RegistryEvent",
    "Rejected",
    "RejectionReason",
    "SubscriptionEvent",
    "ThingEvent",
    "ThingGroupEvent",
    "ThingGroupHierarchyEvent",
    "ThingGroupMembershipEvent",
    "ThingTypeAssociationEvent",
    "ThingTypeEvent",
    "decode",
]
