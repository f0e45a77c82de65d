"""JSON payloads as typed fields.

Decoders are not `strict`: a number may be an integer, a float or text.
"""

from typing import Annotated, TypeVar

import msgspec

from presenced.events.model import Rejected, RejectionReason

MAX_NAME = 1024
"""Longest name in characters; AWS allows 128 bytes in a client ID, other brokers more."""

MAX_TIMESTAMP = 253_402_300_799_999
"""Last millisecond of the year 9999."""

SECONDS = (1_000_000_000, 10_000_000_000)
"""Timestamps from the first value to below the second, those of 10 digits, are in seconds."""

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Payload(msgspec.Struct, rename="camel", gc=False):
    """Fields that an event of any family may have. Unknown fields are ignored."""

    timestamp: Annotated[float, msgspec.Meta(ge=0, le=MAX_TIMESTAMP)] | None = None
    event_type: str | None = None
    operation: str | None = None
    event: msgspec.Raw = msgspec.Raw()
    wrapped_event: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="Event")

    @property
    def event_time(self) -> int | None:
        """Event time in milliseconds since the epoch."""
        value = self.timestamp
        if value is None:
            return None
        return round(value * 1000 if SECONDS[0] <= value < SECONDS[1] else value)


P = TypeVar("P", bound=Payload)


def decode_payload(decoder: "msgspec.json.Decoder[P]", payload: bytes) -> P:
    """Decode a payload, which an IoT rule may have wrapped in `event` or `Event`.

    Raises `Rejected`: `malformed_json` if it is not JSON in UTF-8, `invalid_payload` if it is JSON
    but not such an event.
    """
    try:
        fields = decoder.decode(payload)
        wrappers = (bytes(fields.event), bytes(fields.wrapped_event))
        wrapped = next((raw for raw in wrappers if raw.startswith(b"{")), None)
        return decoder.decode(wrapped) if wrapped else fields
    except _DECODE_ERRORS as error:
        raise _rejection(error, payload) from None


def _rejection(error: Exception, payload: bytes) -> Rejected:
    if isinstance(error, msgspec.ValidationError):
        # msgspec checks types while it reads: the rest of the text may still be malformed.
        try:
            msgspec.json.decode(payload)
        except _DECODE_ERRORS as syntax_error:
            error = syntax_error
        else:
            return invalid(str(error))
    if isinstance(error, RecursionError):
        return invalid("nested too deeply")
    # JSON does not limit numbers (RFC 8259 section 6), the decoder does.
    if "out of range" in str(error):
        return invalid("a number is out of range")
    return Rejected(RejectionReason.MALFORMED_JSON, str(error))


def invalid(detail: str) -> Rejected:
    """Return the rejection of a payload that is JSON but not such an event."""
    return Rejected(RejectionReason.INVALID_PAYLOAD, detail)


def is_name(text: str) -> bool:
    """Return whether a text may be a name. MQTT forbids U+0000 (MQTT 5 section 1.5.4)."""
    return len(text) <= MAX_NAME and "\0" not in text


def name(*candidates: str | None) -> str:
    """Return the first candidate that is not empty. Raises `Rejected` if none is, or it is invalid.

    MQTT forbids U+0000 in strings (MQTT 5 section 1.5.4).
    """
    for candidate in candidates:
        if candidate:
            if len(candidate) > MAX_NAME:
                raise invalid(f"a name is longer than {MAX_NAME} characters")
            if "\0" in candidate:
                raise invalid("a name contains U+0000")
            return candidate
    raise invalid("neither payload nor topic names the subject of the event")
