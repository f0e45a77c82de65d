"""Read and write recordings: messages and answers of AWS as JSON Lines, for replay."""

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from presenced.events.message import Message

_LAST_SECOND = 253_402_300_799  # of the year 9999


Operation = Literal["SearchIndex", "GetThingConnectivityData", "GetConnection"]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=_LAST_SECOND)]


class RecordedAnswer(msgspec.Struct):
    """An answer of AWS; `body` is JSON.

    `asked` is when the request was made, `received` when the answer was complete, in seconds since
    the epoch; `moment` is `received` on the virtual clock. `client_id` is the client that a lookup
    was about, empty for SearchIndex. `line` is the number of its line, counted from 1.
    """

    received: float
    moment: float
    asked: float
    operation: Operation
    body: bytes
    client_id: str = ""
    line: int = 0


class _Line(msgspec.Struct, gc=False):
    received: _Seconds
    topic: str
    payload: msgspec.Raw
    retained: bool = False


class _AnswerLine(msgspec.Struct, gc=False):
    received: _Seconds
    asked: _Seconds
    operation: Operation
    answer: msgspec.Raw
    client_id: str | None = None


class _Kind(msgspec.Struct, gc=False):
    """What a line is: that of an answer has an operation and no topic."""

    topic: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    operation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Base64(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    base64: str


_LINE = msgspec.json.Decoder(_Line)
_ANSWER_LINE = msgspec.json.Decoder(_AnswerLine)
_KIND = msgspec.json.Decoder(_Kind)
_TEXT = msgspec.json.Decoder(str)
_BASE64 = msgspec.json.Decoder(_Base64)
_INVALID = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_recording(
    lines: Iterable[bytes], on_bad_line: Callable[[int, str], None]
) -> Iterator[Message | RecordedAnswer]:
    """Yield what a recording holds in file order, on a virtual clock that never runs back.

    Both times of a message are its `received`, or that of an earlier line if that is later; so is
    the `moment` of an answer. Empty lines are skipped. `on_bad_line` gets the number, counted from
    1, of each line that cannot be read, and what is wrong with it.
    """
    now = float("-inf")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = parse_line(line)
        except ValueError as error:
            on_bad_line(number, str(error))
            continue
        now = item.moment = max(now, item.received)
        if isinstance(item, Message):
            item.received = now
        else:
            item.line = number
        yield item


def parse_line(line: bytes) -> Message | RecordedAnswer:
    """Decode one line. Raises ValueError that says what is wrong with it."""
    try:
        try:
            fields = _LINE.decode(line)
        except msgspec.ValidationError:
            kind = _KIND.decode(line)
            if kind.operation is msgspec.UNSET or kind.topic is not msgspec.UNSET:
                raise
            return _answer(_ANSWER_LINE.decode(line))
        payload = _decode_payload(bytes(fields.payload))
    except _INVALID as error:
        raise ValueError(str(error)) from None
    return Message(
        topic=fields.topic,
        payload=payload,
        qos=0,
        received=fields.received,
        moment=fields.received,
        retained=fields.retained,
    )


def answer_line(answer: RecordedAnswer) -> bytes:
    """Encode an answer as a line with the newline at its end.

    Its body is written without whitespace between the tokens. An answer received before it was
    asked for, by a clock that was set back, counts as asked for when it was received.
    """
    head: dict[str, float | str] = {
        "received": answer.received,
        "asked": min(answer.asked, answer.received),
        "operation": answer.operation,
    }
    if answer.client_id:
        head["client_id"] = answer.client_id
    body = msgspec.json.format(answer.body, indent=-1)
    return b'%s,"answer":%s}\n' % (msgspec.json.encode(head)[:-1], body)


def _answer(fields: _AnswerLine) -> RecordedAnswer:
    """Return the answer of a line. Raises ValueError."""
    if fields.asked > fields.received:
        raise ValueError("asked is later than received")
    if not fields.client_id and fields.operation != "SearchIndex":
        raise ValueError(f"{fields.operation} needs client_id")
    return RecordedAnswer(
        received=fields.received,
        moment=fields.received,
        asked=fields.asked,
        operation=fields.operation,
        body=bytes(fields.answer),
        client_id=fields.client_id or "",
    )


def recording_line(message: Message) -> bytes:
    """Encode a message as a line with the newline at its end.

    `parse_line` returns the same topic, payload, received time and retained flag, to the last byte.
    """
    fields: dict[str, float | str | bool] = {"received": message.received, "topic": message.topic}
    if message.retained:
        fields["retained"] = True
    head = msgspec.json.encode(fields)
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
