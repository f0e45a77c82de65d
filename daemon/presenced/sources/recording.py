"""Read and write recordings: messages as JSON Lines, for replay."""

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import msgspec

from presenced.events.message import Message

_LAST_SECOND = 253_402_300_799  # of the year 9999


class _Line(msgspec.Struct, gc=False):
    received: Annotated[float, msgspec.Meta(ge=0, le=_LAST_SECOND)]
    topic: str
    payload: msgspec.Raw


class _Base64(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    base64: str


_LINE = msgspec.json.Decoder(_Line)
_TEXT = msgspec.json.Decoder(str)
_BASE64 = msgspec.json.Decoder(_Base64)
_INVALID = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_recording(
    lines: Iterable[bytes], on_bad_line: Callable[[int, str], None]
) -> Iterator[Message]:
    """Yield the messages of a recording in file order, on a virtual clock that never runs back.

    Both times of a message are its `received`, or that of an earlier line if that is later. Empty
    lines are skipped. `on_bad_line` gets the number, counted from 1, of each line that cannot be
    read, and what is wrong with it.
    """
    now = float("-inf")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = parse_line(line)
        except ValueError as error:
            on_bad_line(number, str(error))
            continue
        now = message.received = message.moment = max(now, message.received)
        yield message


def parse_line(line: bytes) -> Message:
    """Decode the message of one line. Raises ValueError that says what is wrong with it."""
    try:
        fields = _LINE.decode(line)
        payload = _decode_payload(bytes(fields.payload))
    except _INVALID as error:
        raise ValueError(str(error)) from None
    return Message(
        topic=fields.topic, payload=payload, qos=0, received=fields.received, moment=fields.received
    )


def recording_line(message: Message) -> bytes:
    """Encode a message as a line with the newline at its end.

    `parse_line` returns the same topic, payload and received time, to the last byte.
    """
    head = msgspec.json.encode({"received": message.received, "topic": message.topic})
    return b'%s,"payload":%s}\n' % (head[:-1], _encode_payload(message.payload))


def _encode_payload(payload: bytes) -> bytes:
    """Encode a payload: a JSON object unchanged, else as text, else as base64."""
    if payload.startswith(b"{") and _is_one_line_object(payload):
        return payload
    try:
        return msgspec.json.encode(payload.decode())
    except UnicodeDecodeError:
        return msgspec.json.encode({"base64": base64.b64encode(payload).decode()})


def _is_one_line_object(payload: bytes) -> bool:
    """Whether a payload is a JSON object on one line that does not look like base64."""
    if b"\n" in payload or b"\r" in payload or not payload.endswith(b"}"):
        return False
    try:
        return list(msgspec.json.decode(payload)) != ["base64"]
    except _INVALID:
        return False


def _decode_payload(raw: bytes) -> bytes:
    if raw.startswith(b'"'):
        return _TEXT.decode(raw).encode()
    if not raw.startswith(b"{"):
        return raw
    try:
        return base64.b64decode(_BASE64.decode(raw).base64, validate=True)
    except msgspec.ValidationError:
        return raw
    except ValueError as error:
        raise ValueError(f"payload is not base64: {error}") from None
