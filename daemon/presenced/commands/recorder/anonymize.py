"""Messages without anything that tells whose they are, and with the same effect on the daemon.

Which fields of a payload an anonymised recording keeps, and what becomes of their values.

The only place that knows. A field that does not stand here is left out, and so is a value of a type
that the field does not have: what nobody has looked at must not leak.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from presenced.commands.recorder.pseudonyms import ClientNames, Pseudonyms
from presenced.events import EVENT_TYPES, Rejected, RejectionReason, decode
from presenced.events.decode import MAX_PAYLOAD
from presenced.events.message import Message
from presenced.events.model import CONNECT_FAILURE_REASONS, DISCONNECT_REASONS
from presenced.events.registry import within_limits
from presenced.events.topics import Route, route, topic_of
from presenced.service.build import client_filter
from presenced.settings import Settings

LEFT_OUT: Any = msgspec.UNSET
"""The value of a field that is left out."""

Change = Callable[[Any], Any]
"""What becomes of a value."""

_EVENTS = (
    *("thing", "thingType", "thingTypeAssociation", "thingGroup", "thingGroupMembership"),
    "thingGroupHierarchy",
)
_OLD_OPERATIONS = ("created", "deleted")
_MOST_DIGITS = 64


def changes(
    pseudonyms: Pseudonyms,
    client: Callable[[str], str],
    *,
    reasons: Collection[str],
    attributes: Collection[str],
) -> Mapping[str, Change]:
    """What becomes of the value of each field that is kept, by the field's name.

    `client` gives the names of clients and things. `reasons` of disconnects and `attributes` of
    things are those that the settings name: they stay, as do the reasons that AWS lists.
    """

    def named(kind: str) -> Change:
        return _text(lambda text: pseudonyms.name(kind, text))

    def attribute(name: str) -> str:
        return name if name in attributes else pseudonyms.name("attribute", name)

    identifier, principal = _text(pseudonyms.identifier), _text(pseudonyms.principal)
    group, kind = named("group"), named("type")
    reason = _one_of({*DISCONNECT_REASONS, *reasons}, named("reason"))
    failure = _one_of({*CONNECT_FAILURE_REASONS}, named("reason"))
    return {
        "timestamp": _number,
        "versionNumber": _number,
        "eventType": _word,
        "operation": _word,
        "status": _word,
        "eventId": identifier,
        "clientId": _text(client),
        "thingName": _text(client),
        "sessionIdentifier": identifier,
        "principalIdentifier": principal,
        "ipAddress": _text(pseudonyms.address),
        "clientInitiatedDisconnect": _truth,
        "disconnectReason": reason,
        "connectFailureReason": failure,
        "topics": _each(named("topic")),
        "thingId": identifier,
        "thingArn": _arn("thing", client),
        "thingTypeName": kind,
        "thingTypeId": identifier,
        "isDeprecated": _truth,
        "attributes": _attributes(attribute, named("value")),
        "searchableAttributes": _each(_text(attribute)),
        "propagatingAttributes": _each(_propagating(_text(attribute))),
        "thingGroupName": group,
        "thingGroupId": identifier,
        "groupArn": _arn("thinggroup", lambda name: pseudonyms.name("group", name)),
        "groupId": identifier,
        "parentGroupName": group,
        "parentGroupId": identifier,
        "childGroupName": group,
        "childGroupId": identifier,
        "membershipId": identifier,
        "jobId": named("job"),
        "certificateId": principal,
        "caCertificateId": principal,
    }


def _plain(word: str) -> str:
    return word.replace("_", "").lower()


_WORDS = frozenset(
    _plain(word)
    for word in (
        *(each for types in EVENT_TYPES.values() for each in types),
        *(f"{each}Event" for each in _EVENTS),
        *("job", "jobExecution", "commandExecution"),
        *_OLD_OPERATIONS,
    )
)


def _word(value: Any) -> Any:
    """A word of AWS's; one that is not known is `other`, as to the daemon."""
    if not isinstance(value, str):
        return _null(value)
    return value if not value or _plain(value) in _WORDS else "other"


def _number(value: Any) -> Any:
    """A number, be it as text."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return LEFT_OUT
        return value if len(value) <= _MOST_DIGITS else LEFT_OUT
    return value if type(value) in (int, float) else _null(value)


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.lower() in ("true", "false") else LEFT_OUT
    return value if isinstance(value, bool) else _null(value)


def _text(change: Callable[[str], str]) -> Change:
    return lambda value: change(value) if isinstance(value, str) else _null(value)


def _one_of(kept: Collection[str], change: Change) -> Change:
    return lambda value: value if isinstance(value, str) and value in kept else change(value)


def _each(change: Change) -> Change:
    def of_list(value: Any) -> Any:
        if not isinstance(value, list):
            return _null(value)
        return [new for each in value if (new := change(each)) is not LEFT_OUT]

    return of_list


def _arn(resource: str, change: Callable[[str], str]) -> Change:
    """An ARN: all before its first slash, which the account is in, and the name after it."""

    def of_arn(arn: str) -> str:
        _, slash, name = arn.partition("/")
        return f"arn:aws:iot:::{resource}{slash}{change(name)}" if arn else arn

    return _text(of_arn)


def _attributes(key: Callable[[str], str], change: Change) -> Change:
    """Attributes; those beyond AWS's limits, which the daemon does not take, are left out."""

    def of_attributes(value: Any) -> Any:
        if not isinstance(value, dict):
            return _null(value)
        return {
            key(name): change(told)
            for name, told in value.items()
            if (told is None or isinstance(told, str)) and within_limits((name, told))
        }

    return of_attributes


def _propagating(change: Change) -> Change:
    def of_one(value: Any) -> Any:
        if not isinstance(value, dict):
            return LEFT_OUT
        told = change(value.get("userPropertyKey"))
        return LEFT_OUT if told is LEFT_OUT else {"userPropertyKey": told}

    return of_one


def _null(value: Any) -> Any:
    return None if value is None else LEFT_OUT


_WRAPPERS = ("event", "Event")
_NO_RAW = msgspec.Raw()
_DIGITS = 32

# What the names in a topic are, outermost first.
_NAMES = {
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

# Payloads that are rejected for the same reason as those in whose place they stand.
_STAND_INS = {
    RejectionReason.MALFORMED_JSON: b"malformed JSON was here",
    RejectionReason.INVALID_PAYLOAD: b'["an invalid payload was here"]',
    RejectionReason.TOO_LARGE: b" " * (MAX_PAYLOAD + 1),
    RejectionReason.UNKNOWN_TOPIC: b"a message of an unknown topic was here",
}


class Anonymizer:
    """Gives every name in the messages of one recording a pseudonym.

    `settings` are those of the daemon, which replays are to be run with. Names stay equal where
    they were, and the daemon does the same with the messages. A payload that the daemon would
    reject is not looked at: one that is rejected for the same reason stands in its place. Raises
    SettingsError where `presence.ignore_clients` cannot be kept by other names.
    """

    def __init__(self, settings: Settings) -> None:
        self._pseudonyms = Pseudonyms()
        ignored = settings.presence.ignore_clients
        self.client = ClientNames(self._pseudonyms, client_filter(settings), ignored)
        """What stands for a client ID, or the name of a thing."""
        self._changes = changes(
            self._pseudonyms,
            self.client,
            reasons=settings.presence.offline_delay_by_reason.keys(),
            attributes=settings.metrics.thing_attributes,
        )
        self._decoder = _raw_decoder(self._changes)

    def __call__(self, message: Message) -> Message:
        """The message that stands for a message; all but topic and payload is its own."""
        topic, payload = self._anonymized(message)
        return msgspec.structs.replace(message, topic=topic, payload=payload)

    def name(self, kind: str, text: str) -> str:
        """What stands for a name: of a `client`, a `group`, a `type`, a `value`, and so on."""
        if kind == "client":
            return self.client(text)
        if kind == "principal":
            return self._pseudonyms.principal(text)
        return self._pseudonyms.name(kind, text)

    def _anonymized(self, message: Message) -> tuple[str, bytes]:
        try:
            found = route(message.topic)
        except Rejected as rejected:
            return self._pseudonyms.name("unknown", message.topic), _STAND_INS[rejected.reason]
        topic = topic_of(self._renamed(found))
        try:
            decode(message.topic, message.payload, message.received)
        except Rejected as rejected:
            return topic, _STAND_INS[rejected.reason]
        return topic, self._payload(message.payload)

    def _renamed(self, found: Route) -> Route:
        names = map(self.name, _NAMES[found.family], found.names)
        return found._replace(names=tuple(names))

    def _payload(self, payload: bytes) -> bytes:
        """The payload of an event that was decoded, with other values and maybe fewer fields.

        Copies of a message must stay alike, and others must not become so: a digest tells.
        """
        outer = self._decoder.decode(payload)
        for wrapper in _WRAPPERS:
            inner = bytes(getattr(outer, wrapper))
            if inner.startswith(b"{"):
                fields: dict[str, Any] = {wrapper: self._changed(self._decoder.decode(inner))}
                break
        else:
            fields = self._changed(outer)
        original = self._pseudonyms.digest("payload", payload)[:_DIGITS]
        return msgspec.json.encode({**fields, "original": original})

    def _changed(self, told: Any) -> dict[str, Any]:
        changed = {
            name: change(_value(raw))
            for name, change in self._changes.items()
            if (raw := getattr(told, name)) is not _NO_RAW
        }
        return {name: value for name, value in changed.items() if value is not LEFT_OUT}


def _raw_decoder(kept: Mapping[str, Change]) -> "msgspec.json.Decoder[Any]":
    """Reads the fields that are kept, and passes over others just as the daemon does."""
    names = [*kept, *_WRAPPERS]
    fields = [(name, msgspec.Raw, msgspec.field(default=_NO_RAW)) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Told", fields))


def _value(raw: msgspec.Raw) -> Any:
    """The value of a field; that of one which the daemon does not read may be unreadable."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return LEFT_OUT
