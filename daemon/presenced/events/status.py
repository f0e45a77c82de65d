"""Status topics: messages in which clients, or their Last Wills, say whether they are online."""

import base64
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from presenced.events.decode import MAX_PAYLOAD
from presenced.events.model import Rejected, RejectionReason, StatusEvent
from presenced.events.payloads import invalid, name

_PLACEHOLDER = re.compile(r"\{([1-9][0-9]*)\}")
_is_index = re.compile("0|[1-9][0-9]{0,5}").fullmatch  # RFC 6901 section 4
_INVALID = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class StatusTopic(NamedTuple):
    """The status topics that match a topic filter.

    In `client_id`, `{1}` is what the first wildcard of the filter stands for, and so on. A payload
    is compared as text, or with `pointer` the value there in its JSON (RFC 6901): text as it is,
    numbers and `true`, `false` and `null` as JSON writes them.
    """

    filter: str
    client_id: str
    online: str
    offline: str
    pointer: str | None = None


class StatusDecoder:
    """Decodes the messages of status topics. Of filters that match a topic the first one counts."""

    def __init__(self, topics: Sequence[StatusTopic]) -> None:
        self._topics = [(_pattern(topic.filter).fullmatch, topic) for topic in topics]

    def decode(self, topic: str, payload: bytes, *, retained: bool) -> StatusEvent | None:
        """Return what a message says about its client; None if its topic is no status topic.

        Raises `Rejected` if it says neither online nor offline.
        """
        found = self.find(topic)
        if found is None:
            return None
        status, levels = found
        client_id = name(_PLACEHOLDER.sub(lambda n: levels[int(n[1]) - 1], status.client_id))
        connected = _read(payload, status)
        return StatusEvent(
            type="online" if connected else "offline",
            client_id=client_id,
            connected=connected,
            retained=retained,
        )

    def find(self, topic: str) -> tuple[StatusTopic, list[str]] | None:
        """Return the status topics that a topic is of, and what the wildcards stand for."""
        if topic.startswith("$"):
            return None
        for match_topic, status in self._topics:
            if match := match_topic(topic):
                return status, [level or "" for level in match.groups()]
        return None


def placeholders(client_id: str) -> list[int]:
    """Return the numbers of the wildcards that a client ID refers to."""
    return [int(number) for number in _PLACEHOLDER.findall(client_id)]


def wildcards(topic_filter: str) -> int:
    """Return how many wildcards a topic filter has."""
    return sum(level in ("+", "#") for level in topic_filter.split("/"))


def _pattern(topic_filter: str) -> re.Pattern[str]:
    """Return a regular expression of the topics, with a group for each wildcard."""
    *levels, last = topic_filter.split("/")
    parts = ["([^/]*)" if level == "+" else re.escape(level) for level in levels]
    if last == "#":  # matches the level above, too (MQTT 5 section 4.7.1.2)
        return re.compile("/".join(parts) + ("(?:/(.*))?" if parts else "(.*)"), re.DOTALL)
    parts.append("([^/]*)" if last == "+" else re.escape(last))
    return re.compile("/".join(parts), re.DOTALL)


def _read(payload: bytes, status: StatusTopic) -> bool:
    if len(payload) > MAX_PAYLOAD:
        raise Rejected(RejectionReason.TOO_LARGE, f"{len(payload)} bytes")
    for text in _texts(payload, status.pointer):
        if text == status.online:
            return True
        if text == status.offline:
            return False
    raise invalid("it says neither online nor offline, as presence.status_topics has them")


def _texts(payload: bytes, pointer: str | None) -> list[str]:
    """Return the text of a payload, and that of base64: IoT rules encode what is not JSON so."""
    if pointer is not None:
        return [_text_at(payload, pointer)]
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return []
    try:
        return [text, base64.b64decode(text, validate=True).decode().strip()]
    except ValueError:
        return [text]


def _text_at(payload: bytes, pointer: str) -> str:
    """Return the text of a value in a JSON document. Raises `Rejected` if there is none."""
    try:
        value: Any = msgspec.json.decode(payload)
    except _INVALID as error:
        raise Rejected(RejectionReason.MALFORMED_JSON, str(error)) from None
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and _is_index(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise invalid("it has no value where presence.status_topics points")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
