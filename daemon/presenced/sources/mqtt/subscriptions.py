"""Which topic filters one MQTT session holds, and which of their messages it keeps. Pure.

A session keeps its subscriptions while the client is away, also those that the client's
configuration no longer names (MQTT 5 section 4.1). Of a filter's messages it keeps those published
at QoS 1 after the first SUBSCRIBE.
"""

from collections.abc import Mapping, Sequence

from presenced.settings.topic_filters import overlapping_filters
from presenced.sources.mqtt.faults import Fault, granted_qos_0, published_at_qos_0

_PRESENCE = "$aws/events/presence/+/#"
CONNECTS = "$aws/events/presence/connected/#"
DISCONNECTS = "$aws/events/presence/disconnected/#"


class Subscriptions:
    """The topic filters of one connection's session.

    `held` maps the session's filters to the QoS at which their messages come; None if they are not
    known. `shortfalls` has the wanted filters whose lifecycle events come at QoS 0 though QoS 1 was
    requested.
    """

    def __init__(self, held: Mapping[str, int] | None = None) -> None:
        self.held = None if held is None else dict(held)
        self.shortfalls: dict[str, Fault] = {}
        self._wanted: Sequence[str] = ()
        self._qos = 1
        self._before: dict[str, int] | None = None

    def want(self, filters: Sequence[str], qos: int) -> None:
        """Replace the wanted filters and the QoS to request."""
        self._wanted, self._qos = filters, qos
        self.shortfalls = {each: why for each, why in self.shortfalls.items() if each in filters}

    @property
    def keeps_presence(self) -> bool:
        """Whether, as far as is known, the session keeps lifecycle events."""
        held = self.held or {}
        return all(held.get(each, 1) > 0 for each in self._presence_filters)

    @property
    def unwanted(self) -> list[str]:
        """The filters that the session holds and that are no longer wanted."""
        return [each for each in self.held or () if each not in self._wanted]

    def up(self, *, resumed: bool, whole: bool) -> None:
        """Note that a connection is up; `whole` is set if the session kept all messages."""
        if not resumed:
            self.held = None
        self._before = dict(self.held) if self.held is not None and whole else None

    def granted(self, topic_filter: str, qos: int) -> bool:
        """Note that the broker granted a filter; return whether it missed lifecycle events."""
        presence = carries_presence([topic_filter])
        missed = (
            presence
            and self._before is not None
            and not any(kept and covers(each, topic_filter) for each, kept in self._before.items())
        )
        self.held = {**(self.held or {}), topic_filter: qos}
        if presence and qos < self._qos:
            self.shortfalls[topic_filter] = granted_qos_0(topic_filter)
        else:
            self.shortfalls.pop(topic_filter, None)
        return missed

    def unsubscribed(self, topic_filter: str) -> None:
        """Note that the session no longer holds a filter, nor gets its messages."""
        for filters in (self.held, self._before):
            if filters is not None:
                filters.pop(topic_filter, None)

    def received_at_qos_0(self) -> bool:
        """Note that a lifecycle event came at QoS 0; return whether that is new."""
        held = self.held or {}
        reduced = [each for each in self._presence_filters if held.get(each)]
        for each in reduced:
            self.shortfalls[each] = published_at_qos_0(each)
        self.held = {**held, **dict.fromkeys(reduced, 0)}
        return bool(reduced)

    @property
    def _presence_filters(self) -> list[str]:
        return [each for each in self._wanted if carries_presence([each])]


def carries_presence(filters: Sequence[str]) -> bool:
    """Return whether lifecycle events match one of the topic filters."""
    return carries(filters, _PRESENCE)


def carries(filters: Sequence[str], wanted: str) -> bool:
    """Return whether messages of the filter `wanted` match one of the topic filters."""
    return any(any(overlapping_filters([[each], [wanted]])) for each in filters)


def covers(wide: str, narrow: str) -> bool:
    """Return whether each message of the filter `narrow` also matches `wide` (section 4.7).

    A shared subscription receives only a part of its messages, so it covers only itself.
    """
    if wide == narrow:
        return True
    if wide.startswith("$share/"):
        return False
    # Every topic has a first level, so that "+/#" is "#".
    levels, others = ("#" if wide == "+/#" else wide).split("/"), narrow.split("/")
    if others[0] == "$share":
        others = others[2:]
    if levels[0] in ("+", "#") and others[0].startswith("$"):
        return False
    for place, level in enumerate(levels):
        if level == "#":
            return True
        if place == len(others) or others[place] == "#" or level not in ("+", others[place]):
            return False
    return len(levels) == len(others)
