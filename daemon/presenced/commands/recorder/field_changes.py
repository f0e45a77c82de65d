"""Change the values of known JSON fields, and leave out all others."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

Change = Callable[[Any], Any]
Fields = Mapping[str, tuple[Any, Change]]
"""The type of each field to keep and the change to its value, by the field's name."""

_ABSENT = msgspec.Raw()


class FieldChanges:
    """Keeps the `fields` of objects whose values have the right type, and changes these values.

    A change is not made to null; if it fails, the field is left out. `others` are fields that
    `decode` returns as well.
    """

    def __init__(self, fields: Fields, others: Collection[str] = ()) -> None:
        self._fields = {
            name: (msgspec.json.Decoder(kind | None, strict=False), change)
            for name, (kind, change) in fields.items()
        }
        # A struct with the kept fields skips all others as the daemon does, whatever is in them.
        raw = [(name, msgspec.Raw, _ABSENT) for name in (*fields, *others)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("RawFields", raw))

    def decode(self, data: bytes) -> Any:
        """Return the fields of an object as attributes, each as JSON. Raises MsgspecError."""
        return self._decoder.decode(data)

    def change(self, raw_fields: Any) -> dict[str, Any]:
        """Return what to record of the result of `decode`.

        A field that the daemon does not read may hold no valid JSON.
        """
        changed: dict[str, Any] = {}
        for name, (decoder, change) in self._fields.items():
            raw = getattr(raw_fields, name)
            if raw is _ABSENT:
                continue
            try:
                value = decoder.decode(raw)
                changed[name] = None if value is None else change(value)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
        return changed

    def changed(self, data: bytes) -> dict[str, Any]:
        """Return what to record of an object. Raises MsgspecError if `data` is none."""
        return self.change(self.decode(data))


def answer_changes(events: Fields, group: Callable[[str], str]) -> FieldChanges:
    """Return the changes to an answer of SearchIndex or to a lookup.

    `events` are those of the fields of events, whose names and pseudonyms answers share; `group`
    returns the pseudonym of a thing group. What is not read, such as shadows, is left out.
    """

    def unchanged(value: object) -> object:
        return value

    shared = {name: events[name] for name in ("clientId", "disconnectReason", "timestamp")}
    state: Fields = {
        **shared,
        **dict.fromkeys(("connected", "cleanSession"), (bool, unchanged)),
        **dict.fromkeys(("keepAliveDuration", "sessionExpiry"), (int | float, unchanged)),
    }
    connectivity = FieldChanges(state)
    row = FieldChanges(
        {
            **{
                name: events[name]
                for name in ("thingName", "thingId", "thingTypeName", "attributes")
            },
            "thingGroupNames": (list[str], lambda names: list(map(group, names))),
            "connectivity": (
                dict[str, msgspec.Raw],
                lambda state: connectivity.changed(msgspec.json.encode(state)),
            ),
        }
    )
    times = dict.fromkeys(("connectedSince", "disconnectedSince"), (int | float, unchanged))
    return FieldChanges(
        {
            **state,
            **times,
            "thingName": events["thingName"],
            # A token is opaque: all that counts is whether there is one.
            "nextToken": (str, lambda token: "next" if token else token),
            "things": (
                list[msgspec.Raw],
                lambda things: [row.changed(bytes(thing)) for thing in things],
            ),
        }
    )
