"""Which topic filters one MQTT session holds, and which of their messages it keeps. Pure.

A session keeps its subscriptions while the client is away, also those that the client's
configuration no longer names (MQTT 5 section 4.1). Of a filter's messages it keeps those that came
after the first SUBSCRIBE, at QoS 1.
"""

from collections.abc import Mapping, Sequence

from presenced.mqtt.qos import Shortfall, granted_qos_0, published_at_qos_0

__all__ = ["Subscriptions", "carries_presence", "covers"]

_PRESENCE = ("$aws", "events", "presence")


class Subscriptions:
    """The topic filters of one connection's session.

    `held` has those that the broker knows, each with the QoS at which its messages come; None where
    nothing is known of them. `shortfalls` tells of the wanted filters whose lifecycle events
    come at QoS 0 though QoS 1 was asked for.
    """

    def __init__(self, held: Mapping[str, int] | None = None) -> None:
        self.held = None if held is None else dict(held)
        self.shortfalls: dict[str, Shortfall] = {}
        self._wanted: Sequence[str] = ()
        self._qos = 1
        self._before: dict[str, int] | None = None

    def want(self, filters: Sequence[str], qos: int) -> None:
        """Be about these filters from now on, and the QoS that is asked for."""
        self._wanted, self._qos = filters, qos
        self.shortfalls = {each: why for each, why in self.shortfalls.items() if each in filters}

    @property
    def keeps_presence(self) -> bool:
        """Whether, as far as is known, lifecycle events are kept while the client is away."""
        held = self.held or {}
        return all(held.get(each, 1) > 0 for each in self._wanted if carries_presence([each]))

    @property
    def unwanted(self) -> list[str]:
        """The filters that the session holds and that are not to be subscribed any more."""
        return [each for each in self.held or () if each not in self._wanted]

    def up(self, *, resumed: bool, whole: bool) -> None:
        """A connection is up; `whole` says whether the session has kept all that it held."""
        if not resumed:
            self.held = None
        self._before = dict(self.held) if self.held is not None and resumed and whole else None

    def granted(self, topic_filter: str, qos: int) -> bool:
        """The broker granted a filter; whether its lifecycle events have been missed until now."""
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
        """The session does not hold a filter any more, nor has it what comes from now on."""
        for filters in (self.held, self._before):
            if filters is not None:
                filters.pop(topic_filter, None)

    def came_at_qos_0(self) -> bool:
        """A lifecycle event came at QoS 0; whether that is news."""
        held = self.held or {}
        fallen = [each for each in self._wanted if carries_presence([each]) and held.get(each)]
        for each in fallen:
            self.shortfalls[each] = published_at_qos_0(each)
        self.held = {**held, **dict.fromkeys(fallen, 0)}
        return bool(fallen)


def carries_presence(filters: Sequence[str]) -> bool:
    """Whether lifecycle events match one of the topic filters (MQTT 5 section 4.7)."""
    return any(_may_match(_levels(topic_filter)) for topic_filter in filters)


def covers(wide: str, narrow: str) -> bool:
    """Whether each message that `narrow` brings comes by `wide`, too (MQTT 5 section 4.7).

    A shared subscription brings a part of its messages, so that it covers nothing but itself.
    """
    if wide == narrow:
        return True
    if wide.startswith("$share/"):
        return False
    levels, others = wide.split("/"), _levels(narrow)
    if levels[0] in ("+", "#") and others[0].startswith("$"):
        return False
    for place, level in enumerate(levels):
        if level == "#":
            return True
        if place == len(others) or others[place] == "#" or level not in ("+", others[place]):
            return False
    return len(levels) == len(others)


def _levels(topic_filter: str) -> list[str]:
    levels = topic_filter.split("/")
    return levels[2:] if levels[0] == "$share" else levels


def _may_match(levels: list[str]) -> bool:
    for level, wanted in zip(levels, _PRESENCE, strict=False):
        if level == "#":
            return True
        if level not in ("+", wanted):
            return False
    return len(levels) > len(_PRESENCE) or levels[-1] == "#"
