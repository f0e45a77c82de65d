"""The settings of presence: when a client counts as offline. Durations are seconds."""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from presenced.presence.counts import DISCONNECT_REASONS
from presenced.settings.base import Section, written
from presenced.settings.durations import Duration, format_duration
from presenced.settings.problems import InvalidValue

__all__ = ["PresenceSettings"]

_REASON = "^[A-Z][A-Z0-9_]*$"
_SLIP = 3


def _reason(text: str) -> str:
    if re.fullmatch(_REASON, text) is None:
        guess = re.sub("[^A-Z0-9]+", "_", text.upper())
        raise InvalidValue(
            "is not a disconnect reason, such as CONNECTION_LOST: capital letters and underscores",
            nearest=_misspelt(guess) or (guess if guess in DISCONNECT_REASONS else None),
        )
    if nearest := _misspelt(text):
        raise InvalidValue("is not a disconnect reason of AWS IoT Core", nearest=nearest)
    return text


def _misspelt(text: str) -> str | None:
    """Find the known reason from which a text differs by a slip of the finger.

    AWS adds reasons, often variations of old ones (`API_INITIATED_DISCONNECT`), so that a
    likeness alone says nothing.
    """
    for known in () if text in DISCONNECT_REASONS else DISCONNECT_REASONS:
        likeness = SequenceMatcher(None, text, known).ratio()
        if round((1 - likeness) * (len(text) + len(known))) <= _SLIP:
            return known
    return None


def _pattern(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty; * matches every client")
    return text


Reason = Annotated[
    str, AfterValidator(_reason), WithJsonSchema({"type": "string", "pattern": _REASON})
]


class PresenceSettings(Section):
    """When a client counts as offline, and which clients count at all."""

    offline_delay: Duration = written("5s")
    """How long a disconnect must stand before the client counts as offline. Shorter
    interruptions are flaps: counted, but the client stays online. 0s means at once."""

    offline_delay_by_reason: Annotated[
        Mapping[Reason, Duration], Field(json_schema_extra={"additionalProperties": False})
    ] = written({})
    """Offline delays for the disconnect reasons that AWS IoT Core tells, instead of
    `offline_delay`. For example {CLIENT_INITIATED_DISCONNECT: 0s} takes clients that say goodbye
    at their word."""

    timestamp_accuracy: Duration = written("2m")
    """How far the timestamps of events may be from the truth. AWS IoT Core calls them an
    approximation and used to say 2 minutes. Used to tell which of two events is the later one."""

    version_reset_after: Duration = written("1h")
    """The least time offline after which the broker begins to count a client's connections from 0
    again. About an hour at AWS IoT Core. Must be more than four times `timestamp_accuracy`."""

    forget_offline_after: Duration = written("30d")
    """How long a client may be offline before it is forgotten and its series end. An online client
    is never forgotten."""

    ignore_clients: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ("iotconsole-*",)
    """Client IDs that presence leaves out, as shell-style patterns with *, ? and [...]. The default
    are the test clients of the AWS console. The daemon's own client IDs are always left out."""

    @field_validator("version_reset_after")
    @classmethod
    def _resets_can_be_told(cls, reset_after: float, info: ValidationInfo) -> float:
        accuracy = info.data.get("timestamp_accuracy", 0.0)
        if reset_after <= 4 * accuracy:
            raise InvalidValue(
                "must be more than four times presence.timestamp_accuracy, here"
                f" {format_duration(4 * accuracy)}: else a client whose versions begin again could"
                " not be told from one whose timestamps are wrong"
            )
        return reset_after

    @field_validator("forget_offline_after")
    @classmethod
    def _some_memory(cls, seconds: float) -> float:
        if seconds <= 0:
            raise InvalidValue("must be more than 0s; write 36500d to never forget a client")
        return seconds
