"""Ordering where versions and event times alone do not decide.

Few clients need it: those whose events carry no version, and those whose last two disconnects
could stand in either order. For all others `order` decides, from the last accepted event.
"""

from presenced.presence.client import AmbiguousOrder, Client, EventStamp, PackedSession, State, pack
from presenced.presence.connections import ConnectionHistory
from presenced.presence.ordering import Ordering, OrderingRules, Stamp, is_ambiguous, order

# As globals: see `State`.
_ONLINE, _PENDING, _OFFLINE = State.ONLINE, State.PENDING, State.OFFLINE
_MAX_SEEN = 64
_MAX_REJECTED = 8


def follows(event: Stamp, client: Client, session: PackedSession) -> bool:
    """Return whether an event is the plain successor of a client's last one; nearly all are.

    That is a connect with a higher version of a client that is not online, or the disconnect of the
    connection that made it online, neither with an earlier event time. `resolve` finds each of
    them later under any rules with R > 2A, and nothing is ambiguous after it. `session` is the
    event's, packed.
    """
    version, last = event.version, client.version
    if version is None or last is None or client.replaced or client.ambiguous:
        return False
    if event.timestamp < client.timestamp:
        return False
    if event.connected:
        return version > last and (client.state is _PENDING or client.state is _OFFLINE)
    return client.state is _ONLINE and version == last and session == client.packed_session


def resolve(event: Stamp, client: Client, rules: OrderingRules) -> Ordering:
    """Compare an event with everything known about a client that has had events.

    If the event proves that another one than the last accepted is the later one, the client's last
    accepted event is corrected here.
    """
    if event.version is None or client.version is None:
        return _resolve_without_versions(event, client, rules)
    known = client.ambiguous
    if known is None:
        if _are_distinct(event, client) and not is_ambiguous(event, client, rules):
            return order(event, client, rules)
        known = client.ambiguous = AmbiguousOrder([client.stamp], client.timestamp, [])
    stamp = _stamp(event)
    # A duplicate stays a duplicate even where the order of receipt decided between two events;
    # otherwise each repetition would reverse the decision.
    if stamp in known.seen:
        return Ordering.DUPLICATE
    ordering = order(event, client, rules)
    settled = False
    if is_ambiguous(event, client, rules):
        _reject(client.stamp if ordering.is_later else stamp, known)
    elif ordering.is_later:
        ordering = _order_again(ordering, event, client, known, rules)
        settled = ordering.is_later and not known.rejected and _are_distinct(event, client)
    if settled:
        client.ambiguous = None
    else:
        # Messages too old to be taken for the later one need not be remembered.
        oldest = known.newest - 2 * rules.timestamp_accuracy
        recent = [seen for seen in known.seen if seen.timestamp >= oldest]
        known.seen = [*recent, stamp][-_MAX_SEEN:]
    return ordering


def _resolve_without_versions(event: Stamp, client: Client, rules: OrderingRules) -> Ordering:
    """Compare by sessions and event times, from the set of messages received, in any order.

    `ConnectionHistory` holds the rules, and what may be left out of the set.
    """
    known = client.ambiguous or AmbiguousOrder([client.stamp], client.timestamp, [])
    stamp = _stamp(event)
    if stamp in known.seen:
        return Ordering.DUPLICATE
    slack = 2 * rules.timestamp_accuracy
    before = ConnectionHistory(known.seen, slack)
    after = ConnectionHistory([*known.seen, stamp], slack)
    client.ambiguous = AmbiguousOrder(after.needed(_MAX_SEEN), after.last.timestamp, [])
    if not stamp.connected and before.has_end_like(stamp):
        return Ordering.DUPLICATE
    if after.last == stamp:
        return Ordering.LATER
    if after.last != before.last:
        client.timestamp, client.version = after.last.timestamp, after.last.version
        client.packed_session = pack(after.last.session)
    if after.last.connected == before.last.connected:
        return Ordering.STALE
    return Ordering.SHOWS_ONLINE if after.last.connected else Ordering.SHOWS_OFFLINE


def _stamp(event: Stamp) -> EventStamp:
    return EventStamp(event.connected, event.timestamp, event.version, event.session)


def _are_distinct(event: Stamp, last: Stamp) -> bool:
    """Return whether more than the order of receipt distinguishes events of two sessions."""
    return (
        event.version != last.version
        or event.timestamp != last.timestamp
        or event.session == last.session
    )


def _reject(stamp: EventStamp, known: AmbiguousOrder) -> None:
    others = [each for each in known.rejected if each != stamp]
    known.rejected = [*others, stamp][-_MAX_REJECTED:]


def _order_again(
    ordering: Ordering,
    event: Stamp,
    client: Client,
    known: AmbiguousOrder,
    rules: OrderingRules,
) -> Ordering:
    """Order an event that seemed later against the rejected disconnects.

    They are treated as delivered once more, which is always sound, because any message may be. It
    matters if the connect of a connection arrives after its disconnect: that connection is over.
    """
    unsettled = [stamp for stamp in known.rejected if is_ambiguous(stamp, event, rules)]
    for stamp in known.rejected:
        if stamp not in unsettled and order(stamp, event, rules).is_later:
            # A disconnect as the present one: the state stays what it is.
            client.timestamp, client.version = stamp.timestamp, stamp.version
            client.packed_session = pack(stamp.session)
            return Ordering.STALE
    known.rejected = unsettled
    return ordering
