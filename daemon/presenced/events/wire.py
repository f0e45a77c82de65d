"""JSON payloads into typed fields: tolerant of what is certain, and of nothing else."""

from typing import TypeVar

import msgspec

from presenced.events.model import Rejected, RejectionReason

Number = int | float | str | None
"""A number as senders write it: JSON integer, float, or text."""

MAX_NAME = 1024  # characters; AWS allows 128 bytes in a client ID, other brokers more
_MAX_DIGITS = 64
MAX_VERSION = 2**63 - 1
MAX_MILLISECONDS = 253_402_300_799_999  # the last millisecond of the year 9999
SECONDS = (1_000_000_000, 10_000_000_000)
"""Timestamps from the first to below the second are in seconds, as all of 10 digits are."""


class Payload(msgspec.Struct, rename="camel", gc=False):
    """Fields that an event of any family may carry. Unknown fields are ignored."""

    timestamp: Number = None
    event_type: str | None = None
    operation: str | None = None
    event: msgspec.Raw = msgspec.Raw()
    wrapped_event: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="Event")


P = TypeVar("P", bound=Payload)


def decode_payload(decoder: "msgspec.json.Decoder[P]", payload: bytes) -> P:
    """The fields of a payload, unwrapped where an IoT rule has wrapped it.

    Raises `Rejected`: `malformed_json` where it is not JSON in UTF-8, `invalid_payload` where it
    is JSON but not such an event.
    """
    try:
        fields = decoder.decode(payload)
        candidates = (bytes(fields.event), bytes(fields.wrapped_event))
        wrapped = next((raw for raw in candidates if raw.startswith(b"{")), None)
        return decoder.decode(wrapped) if wrapped else fields
    except msgspec.ValidationError as error:
        # The types are looked at while the text is still being read: it may yet be no JSON.
        _check_json(payload)
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(error) from None
    except RecursionError:
        raise invalid("nested too deeply") from None


def event_time(value: Number) -> int | None:
    """Event time in milliseconds since the epoch, None where there is none.

    Numbers of 10 digits are seconds, all others milliseconds. Raises `Rejected` for what is no
    time between 1970 and 9999.
    """
    if type(value) is int:  # what AWS sends
        number: float = value
    elif value is None:
        return None
    else:
        number = _number(value, "timestamp")
    if SECONDS[0] <= number < SECONDS[1]:
        number *= 1000
    if not 0 <= number <= MAX_MILLISECONDS:
        raise invalid("timestamp is out of range")
    return round(number)


def version(value: Number) -> int | None:
    """A version number, None where there is none; raises `Rejected` for what is no version."""
    if type(value) is not int:
        if value is None:
            return None
        number = _number(value, "versionNumber")
        if not number.is_integer():
            raise invalid("versionNumber is not whole")
        # Text is read anew: a float does not hold every version.
        value = int(value) if isinstance(value, str) and value.isdecimal() else int(number)
    if not 0 <= value <= MAX_VERSION:
        raise invalid("versionNumber is out of range")
    return value


def name(*candidates: str | None) -> str:
    """The first candidate that is not empty; raises `Rejected` where none is, or it is not sound.

    U+0000 is forbidden in MQTT strings (MQTT 5 section 1.5.4).
    """
    for candidate in candidates:
        if candidate:
            if len(candidate) > MAX_NAME:
                raise invalid(f"a name is longer than {MAX_NAME} characters")
            if "\0" in candidate:
                raise invalid("a name holds U+0000")
            return candidate
    raise invalid("neither payload nor topic names what the event is about")


def invalid(detail: str) -> Rejected:
    """The rejection of a payload that is JSON but not such an event."""
    return Rejected(RejectionReason.INVALID_PAYLOAD, detail)


def _number(value: int | float | str, field: str) -> float:
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        raise invalid(f"{field} is too long for a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise invalid(f"{field} is not a number") from None
    if number - number != 0:  # infinite, or not a number
        raise invalid(f"{field} is not a number")
    return number


def _check_json(payload: bytes) -> None:
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(error) from None
    except RecursionError:
        raise invalid("nested too deeply") from None


def _no_json(error: Exception) -> Rejected:
    # JSON knows no bounds for numbers (RFC 8259 section 6); the decoder does.
    if "out of range" in str(error):
        return invalid("a number is out of range")
    return Rejected(RejectionReason.MALFORMED_JSON, str(error))
