"""Recordings: what arrived, as JSON Lines, to be run through the pipeline again."""

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import msgspec

from presenced.events.message import Message

_LAST_SECOND = 253_402_300_799  # of the year 9999

Seconds = Annotated[float, msgspec.Meta(ge=0, le=_LAST_SECOND)]


class _Line(msgspec.Struct, gc=False):
    received: Seconds
    topic: str
    payload: msgspec.Raw


class _Base64(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    base64: str


class BadLine(ValueError):  # noqa: N818 - it names what is wrong, as ValueError does
    """A line that is no part of a recording."""


_LINE = msgspec.json.Decoder(_Line)
_TEXT = msgspec.json.Decoder(str)
_BASE64 = msgspec.json.Decoder(_Base64)


def read_recording(
    lines: Iterable[bytes], on_bad_line: Callable[[int, str], None]
) -> Iterator[Message]:
    """The messages of a recording, in file order, on a virtual clock that never runs backwards.

    Both clocks of a message show its `received`, or that of an earlier line if that is later.
    Empty lines are passed over; a line that cannot be read is told to `on_bad_line` with its
    number, counted from 1, and left out.
    """
    now = float("-inf")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = parse_line(line)
        except BadLine as error:
            on_bad_line(number, str(error))
            continue
        now = message.received = message.moment = max(now, message.received)
        yield message


def parse_line(line: bytes) -> Message:
    """The message of one line; raises `BadLine` that says what is wrong with it."""
    try:
        fields = _LINE.decode(line)
        payload = _payload(bytes(fields.payload))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(str(error)) from None
    return Message(
        topic=fields.topic, payload=payload, qos=0, received=fields.received, moment=fields.received
    )


def recording_line(message: Message) -> bytes:
    """The line of a recording that holds a message, with the newline at its end.

    `parse_line` makes the same topic, payload and received time of it, to the last byte.
    """
    head = msgspec.json.encode({"received": message.received, "topic": message.topic})
    return b'%s,"payload":%s}\n' % (head[:-1], _written(message.payload))


def _written(payload: bytes) -> bytes:
    """A payload as it stands in a line: an object where it is one, else text, else base64."""
    if payload.startswith(b"{") and _stands_for_itself(payload):
        return payload
    try:
        return msgspec.json.encode(payload.decode())
    except UnicodeDecodeError:
        return msgspec.json.encode({"base64": base64.b64encode(payload).decode()})


def _stands_for_itself(payload: bytes) -> bool:
    """Whether it is one line of JSON that any program reads, and is not taken for base64."""
    if b"\n" in payload or b"\r" in payload or not payload.endswith(b"}"):
        return False
    try:
        fields = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return list(fields) != ["base64"]


def _payload(raw: bytes) -> bytes:
    """The payload's bytes; an object stands for the JSON text that it is."""
    if raw.startswith(b'"'):
        return _TEXT.decode(raw).encode()
    if not raw.startswith(b"{"):
        return raw
    try:
        return base64.b64decode(_BASE64.decode(raw).base64, validate=True)
    except msgspec.ValidationError:
        return raw
    except ValueError as error:
        raise BadLine(f"payload is not base64: {error}") from None
