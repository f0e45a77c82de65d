"""Which fields of a payload an anonymised recording keeps, and what becomes of their values.

The only place that knows. A field that does not stand here is left out, and so is a value of a type
that the field does not have: what nobody has looked at must not leak.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from presenced.events import EVENT_TYPES
from presenced.events.registry import within_limits
from presenced.pipeline import CONNECT_FAILURE_REASONS
from presenced.presence.counts import DISCONNECT_REASONS
from presenced.recorder.pseudonyms import Pseudonyms

__all__ = ["LEFT_OUT", "Change", "changes"]

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
