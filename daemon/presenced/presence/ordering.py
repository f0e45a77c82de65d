"""Which of two lifecycle events of one client is the later one. The only place that decides.

AWS delivers lifecycle events late, twice and out of order; event times are approximate, version
numbers rise with every connection but reset after about an hour offline ("Lifecycle events" in
the AWS IoT developer guide). Below, A is the accuracy of event times and R the least time offline
after which versions reset.

Within 2A event times prove nothing, but no reset fits there, so versions decide; beyond 2A event
times are certain. Connects and disconnects differ, because the disconnect of a connection that
was taken over may be stamped minutes after the connect that took over, and belongs before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from presenced.events.model import LifecycleEvent
from presenced.presence.client import Client, EventStamp
from presenced.presence.client_rules import ClientRule

Stamp = LifecycleEvent | EventStamp | Client
"""What ordering compares: an event, the stamp of one, or the client's last accepted event."""


@dataclass(frozen=True, slots=True)
class OrderingRules:
    """A (`timestamp_accuracy`) and R (`version_reset_after`), in milliseconds like event times."""

    timestamp_accuracy: int = 120_000
    version_reset_after: int = 3_600_000


@dataclass(frozen=True, slots=True)
class PresenceRules:
    """The settings that presence depends on. Durations are in seconds.

    `forget_offline_after` None keeps offline clients forever. `client_rules` are exceptions; the
    first that matches a client ID applies.
    """

    offline_delay: float = 5.0
    offline_delay_by_reason: Mapping[str, float] = field(default_factory=dict)
    forget_offline_after: float | None = None
    ordering: OrderingRules = field(default_factory=OrderingRules)
    client_rules: Sequence[ClientRule] = ()

    @property
    def longest_delay(self) -> float:
        """The longest offline delay of any reason and any client."""
        by_rule = (rule.offline_delay or 0.0 for rule in self.client_rules)
        return max(self.offline_delay, *self.offline_delay_by_reason.values(), *by_rule, 0.0)

    def forget_after(self, rule: ClientRule | None) -> float | None:
        """Return how long a client with this rule may be offline; None for forever."""
        if rule is None or rule.forget_offline_after is None:
            return self.forget_offline_after
        return rule.forget_offline_after

    def delay(self, reason: str | None, rule: ClientRule | None) -> float:
        """Return the offline delay of a disconnect with this reason, of a client with this rule."""
        if rule is not None and rule.offline_delay is not None:
            return rule.offline_delay
        if reason is None:
            return self.offline_delay
        return self.offline_delay_by_reason.get(reason, self.offline_delay)


class Ordering(Enum):
    """The order of an event relative to the last accepted one of its client."""

    LATER = "later"
    LATER_AFTER_RESET = "later_after_reset"
    DUPLICATE = "duplicate"
    STALE = "stale"
    SHOWS_ONLINE = "shows_online"
    """A late connect. It shows that the disconnect accepted last ended a replaced connection, so
    the connection that replaced it still stands."""
    SHOWS_OFFLINE = "shows_offline"
    """A connect whose own disconnect has come before it, and which is later than all others."""

    @property
    def is_later(self) -> bool:
        """Whether the event is the later one."""
        return self in (Ordering.LATER, Ordering.LATER_AFTER_RESET)


def order(event: Stamp, last: Stamp, rules: OrderingRules) -> Ordering:
    """Compare `event` with `last`; if nothing distinguishes their times, `event` is later."""
    if event.version is None or last.version is None:
        return _order_without_versions(event, last, rules)
    if event.version > last.version:
        return Ordering.STALE if _reset_between(event, last, rules) else Ordering.LATER
    if event.version < last.version:
        if _reset_between(last, event, rules):
            return Ordering.LATER_AFTER_RESET
        return Ordering.STALE
    if _same_session(event, last) or event.session is None or last.session is None:
        return _order_in_connection(event, last, rules)
    return _order_by_time(event, last)


def is_ambiguous(event: Stamp, last: Stamp, rules: OrderingRules) -> bool:
    """Return whether two disconnects may stand in the other order than `order` returns.

    They may if the one with the lower version has an event time that is later by more than 2A and
    by less than a reset needs: it is either the late disconnect of a connection that was taken
    over, as `order` assumes, or the first after a reset that followed such a late one.
    """
    if event.connected or last.connected or event.version is None or last.version is None:
        return False
    if event.version == last.version:
        return False
    high, low = (event, last) if event.version > last.version else (last, event)
    slack = 2 * rules.timestamp_accuracy
    return slack < low.timestamp - high.timestamp < rules.version_reset_after - slack


def same_connection(one: Stamp, other: Stamp) -> bool:
    """Return whether two events belong to one connection.

    `(session, version)` is its key: a persistent session keeps its identifier over reconnects.
    A field that either event lacks does not count against it.
    """
    if one.version is not None and other.version is not None and one.version != other.version:
        return False
    return one.session is None or other.session is None or one.session == other.session


def _reset_between(before: Stamp, after: Stamp, rules: OrderingRules) -> bool:
    """Return whether versions were reset between `before` and `after`, the lower version."""
    slack = 2 * rules.timestamp_accuracy
    if after.connected:
        return before.timestamp < after.timestamp - slack
    return before.timestamp <= after.timestamp - (rules.version_reset_after - slack)


def _order_in_connection(event: Stamp, last: Stamp, rules: OrderingRules) -> Ordering:
    """Compare two events of one session and version.

    They belong to one connection, unless they are further apart than event times can be wrong:
    emulators and other brokers give every connection the same session and version.
    """
    if abs(event.timestamp - last.timestamp) > 2 * rules.timestamp_accuracy:
        return _order_by_time(event, last)
    if event.connected == last.connected:
        return Ordering.DUPLICATE
    return Ordering.STALE if event.connected else Ordering.LATER


def _order_without_versions(event: Stamp, last: Stamp, rules: OrderingRules) -> Ordering:
    if _same_session(event, last):
        return _order_in_connection(event, last, rules)
    return _order_by_time(event, last)


def _order_by_time(event: Stamp, last: Stamp) -> Ordering:
    return Ordering.LATER if event.timestamp >= last.timestamp else Ordering.STALE


def _same_session(one: Stamp, other: Stamp) -> bool:
    return one.session is not None and one.session == other.session
