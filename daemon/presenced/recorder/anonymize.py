"""Messages without anything that tells whose they are, and with the same effect on the daemon."""

from collections.abc import Mapping
from typing import Any

import msgspec

from presenced.build import client_filter
from presenced.events import Rejected, RejectionReason, decode
from presenced.events.decode import MAX_PAYLOAD
from presenced.events.topics import Route, route, topic_of
from presenced.mqtt.message import Message
from presenced.recorder.client_names import ClientNames
from presenced.recorder.fields import LEFT_OUT, Change, changes
from presenced.recorder.pseudonyms import Pseudonyms
from presenced.settings import Settings

__all__ = ["Anonymizer"]

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
