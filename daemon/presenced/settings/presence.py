"""The section `presence`: when a client counts as offline, which clients count, and as what.

Durations are read as seconds.
"""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import combinations
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from presenced.events.model import DISCONNECT_REASONS
from presenced.events.status import placeholders, wildcards
from presenced.settings.patterns import check_cost, compile_pattern
from presenced.settings.problems import LONGEST_NAME, InvalidValue
from presenced.settings.topic_filters import check_status_filter, overlapping_filters
from presenced.settings.values import (
    Duration,
    Flag,
    Section,
    check_shell_pattern,
    file_default,
    format_duration,
    within,
)

_REASON = "^[A-Z][A-Z0-9_]*$"
# How many letters may differ for a name to count as misspelt.
_SLIP = 3


def _check_reason(text: str) -> str:
    if re.fullmatch(_REASON, text) is None:
        guess = re.sub("[^A-Z0-9]+", "_", text.upper())
        raise InvalidValue(
            "is not a disconnect reason, such as CONNECTION_LOST: capital letters and underscores",
            nearest=guess if guess in DISCONNECT_REASONS else _misspelt(guess),
        )
    if nearest := _misspelt(text):
        raise InvalidValue("is not a disconnect reason of AWS IoT Core", nearest=nearest)
    return text


def _misspelt(text: str) -> str | None:
    """Return the known reason from which a text differs by a few letters.

    AWS adds reasons, often variations of old ones (`API_INITIATED_DISCONNECT`), so likeness alone
    is not enough.
    """
    if text in DISCONNECT_REASONS or len(text) > LONGEST_NAME:
        return None
    for known in DISCONNECT_REASONS:
        likeness = SequenceMatcher(None, text, known).ratio()
        if round((1 - likeness) * (len(text) + len(known))) <= _SLIP:
            return known
    return None


Reason = Annotated[
    str, AfterValidator(_check_reason), WithJsonSchema({"type": "string", "pattern": _REASON})
]


def _read_thing_pattern(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pattern = compile_pattern(value)
    if "thing" not in pattern.groupindex:
        raise InvalidValue(
            "has no group named thing, which is the thing's name: write it as"
            " (?P<thing>...), as in (?P<thing>.+?)(-jobs|-shadow)?"
        )
    check_cost(pattern)
    return pattern


def _check_forget(seconds: float) -> float:
    if seconds <= 0:
        raise InvalidValue("must be more than 0s; write 36500d to never forget a client")
    return seconds


def _check_not_empty(text: str) -> str:
    if not text.strip():
        raise InvalidValue("must not be empty")
    return text.strip()


NonEmpty = Annotated[str, AfterValidator(_check_not_empty)]
ForgetAfter = Annotated[Duration, AfterValidator(_check_forget)]
ShellPattern = Annotated[str, AfterValidator(check_shell_pattern)]
Penalty = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]


class ClientRuleSettings(Section):
    """What is different for clients with certain client IDs. null is as for all others."""

    match: ShellPattern
    """Their client IDs, as a shell-style pattern with *, ? and [...]."""

    offline_delay: Duration | None = None
    """Their offline delay, whatever the reason of the disconnect is."""

    forget_offline_after: ForgetAfter | None = None
    """How long they may be offline before they are forgotten."""

    series: Flag = True
    """Whether they may have series of their own. With false they take none from other clients."""


class StatusTopicSettings(Section):
    """Topics on which clients, or their Last Wills, publish whether they are online."""

    filter: Annotated[str, AfterValidator(check_status_filter)]
    """Topic filter with a wildcard in place of the client ID."""

    client_id: str
    """The client ID: {1} is what the first wildcard stands for, {2} the second, and so on."""

    online: NonEmpty
    """The text of the payload, or of the value at `pointer`, of a client that is online."""

    offline: NonEmpty
    """The same of a client that is offline."""

    pointer: str | None = None
    """Where the value is in a JSON payload, as a JSON pointer (RFC 6901) such as /state. null
    compares the whole payload as text."""

    @field_validator("client_id")
    @classmethod
    def _check_client_id(cls, client_id: str, info: ValidationInfo) -> str:
        numbers, count = placeholders(client_id), wildcards(info.data.get("filter", ""))
        if not numbers or max(numbers) > count:
            raise InvalidValue(
                "must refer to a wildcard of the filter by its number, as {1} does, and the filter"
                f" has {count}"
            )
        return client_id

    @field_validator("offline")
    @classmethod
    def _check_differs(cls, offline: str, info: ValidationInfo) -> str:
        if offline == info.data.get("online"):
            raise InvalidValue("must differ from `online`")
        return offline

    @field_validator("pointer")
    @classmethod
    def _check_pointer(cls, pointer: str | None) -> str | None:
        if pointer is not None and not pointer.startswith("/"):
            raise InvalidValue("is not a JSON pointer", nearest=f"/{pointer.replace('.', '/')}")
        return pointer


class DampingSettings(Section):
    """Damping of clients that flap, after RFC 2439. Presence itself stays what it is."""

    enabled: Flag = False
    """Whether clients that flap are held as flapping: iot_client_flapping is 1 for them, and the
    alerts on single offline devices leave them out. Each connection of a client that ends adds 1 to
    its penalty, which halves in every `half_life`. Penalties are kept across a reload; after a
    restart they begin at 0."""

    half_life: Annotated[Duration, within("1m", "1d")] = file_default("15m")
    """How long a penalty takes to halve. A client is held for at most four times as long after its
    last flap."""

    suppress_after: Penalty = 3
    """A client with a higher penalty is held. With 3 it takes four flaps at once, or more within a
    longer time. Must be less than 16 times `reuse_below`, which is the highest penalty."""

    reuse_below: Penalty = 0.75
    """A client is held until its penalty is below this. Must be less than `suppress_after`."""

    @field_validator("reuse_below")
    @classmethod
    def _check_reuse(cls, reuse_below: float, info: ValidationInfo) -> float:
        suppress_after = info.data.get("suppress_after")
        if suppress_after is not None and not reuse_below < suppress_after < 16 * reuse_below:
            raise InvalidValue(
                "must be less than presence.damping.suppress_after, here"
                f" {suppress_after:g}, and more than a sixteenth of it: a client is held for at"
                " most four half-lives"
            )
        return reuse_below


class PresenceSettings(Section):
    """When a client counts as offline, which clients count at all, and which thing each one is."""

    offline_delay: Duration = file_default("5s")
    """How long after a disconnect a client that does not come back counts as offline. Shorter
    interruptions are flaps: counted, but the client stays online. 0s means at once."""

    offline_delay_by_reason: Annotated[
        Mapping[Reason, Duration], Field(json_schema_extra={"additionalProperties": False})
    ] = file_default({})
    """Offline delays for single disconnect reasons of AWS IoT Core, instead of `offline_delay`. For
    example {CLIENT_INITIATED_DISCONNECT: 0s} makes clients that send DISCONNECT offline at
    once."""

    timestamp_accuracy: Duration = file_default("2m")
    """How far the timestamps of events may be from the truth. AWS IoT Core calls them an
    approximation and used to document 2 minutes. Used to decide which of two events is the later
    one."""

    version_reset_after: Duration = file_default("1h")
    """The shortest time offline after which the broker counts a client's connections from 0 again.
    About an hour at AWS IoT Core. Must be more than four times `timestamp_accuracy`."""

    forget_offline_after: ForgetAfter = file_default("30d")
    """How long a client may be offline before it is forgotten and its series end. An online client
    is never forgotten."""

    damping: DampingSettings = file_default({})
    """Damping of clients that flap, for alerts."""

    ignore_clients: tuple[ShellPattern, ...] = ("iotconsole-*",)
    """Client IDs that presence leaves out, as shell-style patterns with *, ? and [...]. The default
    are the test clients of the AWS console. The daemon's own client IDs are always left out."""

    status_topics: Annotated[tuple[StatusTopicSettings, ...], Field(max_length=32)] = ()
    """Topics on which clients, or their Last Wills, publish whether they are online, for brokers
    without lifecycle events and as evidence beside them. Each entry has `filter`, with a wildcard
    in place of the client ID; `client_id`, in which {1} is what the first wildcard stands for;
    `online` and `offline`, the texts of the payload; and for JSON payloads `pointer`, a JSON
    pointer such as /state to the value that is compared. With `source: mqtt` presenced subscribes
    to the filters on its first connection. No two filters may match the same topic."""

    thing_pattern: Annotated[re.Pattern[str] | None, BeforeValidator(_read_thing_pattern)] = None
    """Regular expression (Python's) for things that have several clients, such as
    (?P<thing>.+?)(-jobs|-shadow)?: if it matches a whole client ID, the group `thing` is the name
    of the thing that the client belongs to. A thing is online while any of its clients is. A client
    whose ID does not match, or has more than 128 bytes in UTF-8, belongs to the thing of its client
    ID. A `thingName` in a client's lifecycle events takes precedence. Not available with `source:
    kafka`."""

    clients: tuple[ClientRuleSettings, ...] = file_default(
        [{"match": "$GEN/*", "forget_offline_after": "10m", "series": False}]
    )
    """Exceptions for clients with certain client IDs. Each entry has `match`, a shell-style pattern
    with *, ? and [...], and any of: `offline_delay`, which applies whatever the reason is;
    `forget_offline_after`; and `series: false`, with which they have no series of their own and so
    take none from other clients. The first entry that matches a client ID applies. The default is
    for IDs that are used once: AWS IoT Core gives one to a client that connects without. Other
    entries replace it, and an empty list has no exceptions."""

    @property
    def status_filters(self) -> list[str]:
        """The topic filters of `status_topics`."""
        return [topic.filter for topic in self.status_topics]

    @field_validator("status_topics")
    @classmethod
    def _check_status_topics(
        cls, topics: tuple[StatusTopicSettings, ...]
    ) -> tuple[StatusTopicSettings, ...]:
        for one, other in combinations([topic.filter for topic in topics], 2):
            if any(overlapping_filters([[one], [other]])):
                raise InvalidValue(
                    f"has the filters {one} and {other}, which match the same topic: its messages"
                    " would count twice"
                )
        return topics

    @field_validator("version_reset_after")
    @classmethod
    def _check_reset(cls, reset_after: float, info: ValidationInfo) -> float:
        accuracy = info.data.get("timestamp_accuracy", 0.0)
        if reset_after <= 4 * accuracy:
            raise InvalidValue(
                "must be more than four times presence.timestamp_accuracy, here"
                f" {format_duration(4 * accuracy)}: otherwise a version that restarts looks the"
                " same as a wrong timestamp"
            )
        return reset_after
