"""From a record that an AWS IoT rule has written to the topic and payload of its event.

A rule's SQL decides how a record looks. Base64 is what the action `sqs` with `useBase64` and the
function `encode` make. What a rule wraps in `event` is left for the decoders of `events/`.
"""

from base64 import b64decode

import msgspec

TOPIC_HEADER = "topic"
"""The header of a Kafka record, or the attribute of an SQS message, that may name the topic."""

SELECT_TOPIC = "SELECT *, topic() AS topic FROM '$aws/events/#'"
"""The SQL of a rule whose records have their topic."""

_INVALID = (msgspec.MsgspecError, UnicodeError, RecursionError)


class UnreadableRecordError(Exception):
    """A record that has no topic, so that it is no event. Its text repeats none of the content."""


_NO_PAYLOAD = msgspec.Raw()


class _Record(msgspec.Struct, gc=False):
    """The fields of a record that tell its form; all others are part of the payload."""

    topic: str | None = None
    payload: msgspec.Raw = _NO_PAYLOAD


_decode = msgspec.json.Decoder(_Record).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_record(body: bytes, topic: str | None = None) -> tuple[str, bytes]:
    """Return topic and payload of a record; `topic` is that of its header, if it has one.

    The body is a payload with the field `topic` in it; or an object of `topic` and `payload`, which
    is an object or text; or the payload alone, if there is a header. A topic in the body counts
    before that of the header. Bodies and texts may be base64. Raises UnreadableRecordError if there
    is no topic, and nothing else; that the payload is an event is not checked.
    """
    if not body.startswith(b"{"):
        body = _plain(body)
    try:
        fields = _decode(body)
    except _INVALID as error:
        if topic:
            return topic, body
        raise _unreadable(error) from None
    if fields.topic and fields.payload is not _NO_PAYLOAD:
        return fields.topic, _nested(bytes(fields.payload))
    topic = fields.topic or topic
    if not topic:
        raise UnreadableRecordError(f"it has no topic: let the rule select it, {SELECT_TOPIC}")
    return topic, body


def _plain(body: bytes) -> bytes:
    """Return a body or text without base64: that is what becomes a JSON object by decoding."""
    stripped = body.strip()
    if stripped.startswith(b"{"):
        return stripped
    try:
        decoded = b64decode(stripped, validate=True).strip()
    except ValueError:
        return body
    return decoded if decoded.startswith(b"{") else body


def _nested(payload: bytes) -> bytes:
    """Return the payload that a record has as JSON: an object as it is, of text its content."""
    if not payload.startswith(b'"'):
        return payload
    try:
        return _plain(_decode_text(payload).encode())
    except _INVALID:  # not UTF-8; the decoders of events refuse it
        return payload


def _unreadable(error: Exception) -> UnreadableRecordError:
    if isinstance(error, msgspec.ValidationError):
        return UnreadableRecordError("it is not a JSON object with a text as its topic")
    return UnreadableRecordError("it is neither JSON nor base64 of JSON")
