"""Messages and answers under pseudonyms, which have the same effect as the originals.

A field that is not listed in `_fields` is left out, and so is a value of a wrong type: nothing is
recorded that this module does not know.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import msgspec

from presenced.commands.recorder.field_changes import FieldChanges, answer_changes
from presenced.commands.recorder.pseudonyms import ClientNames, Pseudonyms
from presenced.events.decode import MAX_PAYLOAD, decode
from presenced.events.message import Message
from presenced.events.model import (
    CONNECT_FAILURE_REASONS,
    DISCONNECT_REASONS,
    EVENT_TYPES,
    Rejected,
    RejectionReason,
)
from presenced.events.resources import Ancestor, PropagatingAttribute, within_limits
from presenced.events.status import StatusDecoder, StatusTopic
from presenced.events.topics import route, topic_of
from presenced.service.build import client_filter, status_topics
from presenced.settings import Settings
from presenced.sources.recording import RecordedAnswer

# What the names in a topic are, outermost first.
_TOPIC_NAMES = {
    "presence": ("client",),
    "subscriptions": ("client",),
    "thing": ("client",),
    "thing_type": ("type",),
    "thing_type_association": ("client", "type"),
    "thing_group": ("group",),
    "thing_group_membership": ("group", "client"),
    "thing_group_hierarchy": ("group", "group"),
    "job": ("job",),
    "job_execution": ("job",),
    "certificate": ("principal",),
    "command_execution": ("command",),
}

# Payloads that the daemon rejects for the same reason as the originals.
_REJECTED_PAYLOADS = {
    RejectionReason.MALFORMED_JSON: b"malformed JSON was here",
    RejectionReason.INVALID_PAYLOAD: b'["an invalid payload was here"]',
    RejectionReason.TOO_LARGE: b" " * (MAX_PAYLOAD + 1),
    RejectionReason.UNKNOWN_TOPIC: b"a message of an unknown topic was here",
}

_WRAPPERS = ("event", "Event")


class Anonymizer:
    """Replaces the names in the messages of one recording by pseudonyms, equal ones by equal ones.

    `settings` are those of the daemon, also for the replay. The daemon processes the new messages
    as it does the originals. A payload that it would reject is replaced by a fixed one that it
    rejects for the same reason. Raises SettingsError if pseudonyms cannot match the patterns of
    `presence.ignore_clients`.
    """

    def __init__(self, settings: Settings) -> None:
        self._pseudonyms = Pseudonyms()
        ignored = settings.presence.ignore_clients
        rules = [rule.match for rule in settings.presence.clients]
        self.client = ClientNames(self._pseudonyms, client_filter(settings), ignored, rules)
        """Returns the pseudonym of a client ID or thing name."""
        fields = _fields(
            self._pseudonyms,
            self.client,
            reasons=settings.presence.offline_delay_by_reason.keys(),
            attributes=settings.metrics.thing_attributes,
        )
        self._statuses = StatusDecoder(status_topics(settings.presence))
        self._message = FieldChanges(fields, _WRAPPERS)
        self._answer = answer_changes(fields, partial(self._pseudonyms.name, "group"))

    def __call__(self, message: Message) -> Message:
        """Return a copy of a message with another topic and payload."""
        topic, payload = self._anonymized(message)
        return msgspec.structs.replace(message, topic=topic, payload=payload)

    def answer(self, answer: RecordedAnswer) -> RecordedAnswer:
        """Return a copy of an answer of AWS about another client, with another body."""
        client_id = self.client(answer.client_id)
        body = msgspec.json.encode(self._answer.changed(answer.body))
        return msgspec.structs.replace(answer, client_id=client_id, body=body)

    def name(self, kind: str, text: str) -> str:
        """Return the pseudonym of a name: of a `client`, a `group`, a `type` and so on."""
        if kind == "client":
            return self.client(text)
        if kind == "principal":
            return self._pseudonyms.principal(text)
        return self._pseudonyms.name(kind, text)

    def _anonymized_status(
        self, message: Message, status: StatusTopic, levels: Sequence[str]
    ) -> tuple[str, bytes]:
        """Return another topic and payload; a level that is the whole client ID stays one."""
        names = iter(
            self.client(level)
            if status.client_id == f"{{{number}}}"
            else self._pseudonyms.name("level", level)
            for number, level in enumerate(levels, 1)
        )
        parts = (next(names) if part in ("+", "#") else part for part in status.filter.split("/"))
        topic = "/".join(parts)
        try:
            event = self._statuses.decode(message.topic, message.payload, retained=False)
        except Rejected as rejected:
            return topic, _REJECTED_PAYLOADS[rejected.reason]
        value: Any = status.online if event and event.connected else status.offline
        if status.pointer is None:
            return topic, value.encode()
        for part in reversed(status.pointer.split("/")[1:]):
            value = {part.replace("~1", "/").replace("~0", "~"): value}
        return topic, msgspec.json.encode(value)

    def _anonymized(self, message: Message) -> tuple[str, bytes]:
        if found_status := self._statuses.find(message.topic):
            return self._anonymized_status(message, *found_status)
        try:
            found = route(message.topic)
        except Rejected as rejected:
            topic = self._pseudonyms.name("unknown", message.topic)
            return topic, _REJECTED_PAYLOADS[rejected.reason]
        names = tuple(map(self.name, _TOPIC_NAMES[found.family], found.names))
        topic = topic_of(found._replace(names=names))
        try:
            decode(message.topic, message.payload, message.received)
        except Rejected as rejected:
            return topic, _REJECTED_PAYLOADS[rejected.reason]
        outer = self._message.decode(message.payload)
        for wrapper in _WRAPPERS:
            inner = bytes(getattr(outer, wrapper))
            if inner.startswith(b"{"):
                fields: dict[str, Any] = {wrapper: self._message.changed(inner)}
                break
        else:
            fields = self._message.change(outer)
        # The daemon counts equal payloads once: equal ones stay equal, others stay different.
        fields["original"] = self._pseudonyms.digest("payload", message.payload)[:32]
        return topic, msgspec.json.encode(fields)


def _fields(
    pseudonyms: Pseudonyms,
    client: Callable[[str], str],
    *,
    reasons: Collection[str],
    attributes: Collection[str],
) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Return the type of each field to keep and the change to its value, by the field's name.

    A change is not made to null. `reasons` of disconnects and `attributes` of things are those in
    the settings: they keep their names, as do the reasons that AWS lists.
    """

    def named(kind: str) -> Callable[[str], str]:
        return partial(pseudonyms.name, kind)

    def each(change: Callable[[str], str]) -> Callable[[list[str]], list[str]]:
        return lambda values: list(map(change, values))

    def reason(known: Collection[str]) -> Callable[[str], str]:
        return lambda text: text if text in known else pseudonyms.name("reason", text)

    def attribute(name: str) -> str:
        return name if name in attributes else pseudonyms.name("attribute", name)

    def attribute_values(values: dict[str, str | None]) -> dict[str, str | None]:
        return {
            attribute(name): value and pseudonyms.name("value", value)
            for name, value in values.items()
            if within_limits((name, value))
        }

    def propagating(values: list[PropagatingAttribute]) -> list[PropagatingAttribute]:
        keys = (value.user_property_key for value in values)
        return [PropagatingAttribute(key and attribute(key)) for key in keys]

    def arn(resource: str, change: Callable[[str], str]) -> Callable[[str], str]:
        def change_arn(text: str) -> str:
            # The account stands before the first slash, the name after it.
            _, slash, name = text.partition("/")
            return f"arn:aws:iot:::{resource}{slash}{change(name)}" if text else text

        return change_arn

    group_arn = arn("thinggroup", named("group"))

    def ancestors(groups: list[Ancestor | None]) -> list[Ancestor | None]:
        return [
            group
            and Ancestor(
                group.group_arn and group_arn(group.group_arn),
                group.group_id and pseudonyms.identifier(group.group_id),
            )
            for group in groups
        ]

    texts: dict[str, Callable[[str], str]] = {
        **dict.fromkeys(("eventType", "operation", "status"), _word),
        **dict.fromkeys(("clientId", "thingName"), client),
        **dict.fromkeys(_IDENTIFIERS, pseudonyms.identifier),
        **dict.fromkeys(("thingGroupName", "parentGroupName", "childGroupName"), named("group")),
        **dict.fromkeys(
            ("principalIdentifier", "certificateId", "caCertificateId"), pseudonyms.principal
        ),
        "ipAddress": pseudonyms.address,
        "disconnectReason": reason({*DISCONNECT_REASONS, *reasons}),
        "connectFailureReason": reason(CONNECT_FAILURE_REASONS),
        "thingArn": arn("thing", client),
        "groupArn": group_arn,
        "thingTypeName": named("type"),
        "jobId": named("job"),
    }
    return {
        **{name: (str, change) for name, change in texts.items()},
        **dict.fromkeys(("timestamp", "versionNumber"), (int | float, lambda number: number)),
        **dict.fromkeys(("clientInitiatedDisconnect", "isDeprecated"), (bool, lambda flag: flag)),
        "topics": (list[str], each(named("topic"))),
        "searchableAttributes": (list[str], each(attribute)),
        "propagatingAttributes": (list[PropagatingAttribute], propagating),
        "rootToParentThingGroups": (list[Ancestor | None], ancestors),
        "attributes": (dict[str, str | None], attribute_values),
    }


_IDENTIFIERS = (
    "eventId",
    "sessionIdentifier",
    "thingId",
    "thingTypeId",
    "thingGroupId",
    "groupId",
    "parentGroupId",
    "childGroupId",
    "membershipId",
)


def _plain(word: str) -> str:
    return word.replace("_", "").lower()


_WORDS = {_plain(word) for types in EVENT_TYPES.values() for word in types}
_WORDS |= {_plain(word) for family in EVENT_TYPES for word in (family, f"{family}_event")}


def _word(text: str) -> str:
    """Keep a word of AWS. All others are the same to the daemon."""
    return text if not text or _plain(text) in _WORDS else "other"
