"""The answers about the whole fleet now and in the last hours, as structs like those of `answers`.

They are apart because of their number.
"""

from collections.abc import Sequence
from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from presenced.presence import State
from presenced.presence.recent_counts import Kind
from presenced.web.api.answers import Answer, Aws, Count, Partitions, Timestamp, Transition


def _doc(description: str) -> Meta:
    return Meta(description=description)


def _one_of(*values: str) -> Meta:
    return Meta(extra_json_schema={"enum": values})


_Share = Annotated[float, Meta(ge=0, le=1)] | None
_Counts = dict[str, Count]


class DaemonCertificate(Answer):
    """A certificate with which presenced connects, or verifies the server that it connects to."""

    name: Annotated[str, _one_of("client", "ca", "kafka_client", "kafka_ca")]
    expires_at: Timestamp
    warning: Annotated[
        str | None, _doc("What to say of it if it has expired or expires soon; else null.")
    ]


class DaemonNow(Answer):
    """Whether the numbers are those of now: the state of presenced itself."""

    state: Annotated[str, _one_of("receiving", "receiving_partly", "catching_up", "not_receiving")]
    since: Annotated[Timestamp | None, _doc("When it became so; null just after the start.")]
    as_of: Annotated[
        Timestamp | None,
        _doc(
            "As of when the states of the clients are while events about them are not received,"
            " also after a restart; null if they are received, or if it is not known: then the"
            " states are those of the state file, or of Kafka's state topic."
        ),
    ]
    text: Annotated[str, _doc("The same in words, as /-/ready has it.")]
    not_received: Annotated[
        Sequence[str],
        _doc(
            "The MQTT topic filters whose messages are not received while those of others are; `a"
            " part of` is before a shared one that another connection receives, too."
        ),
    ]
    is_current: Annotated[
        bool, _doc("Whether all connects and disconnects are received, and none waits.")
    ]
    meaning: Annotated[
        list[str],
        _doc(
            "Sentences on what that means: whether the states of the clients are those of now,"
            " whether events may have been lost, and what to check first."
        ),
    ]
    in_doubt: Annotated[Count, _doc("The number of clients whose state is in doubt.")]
    aws: Annotated[Aws | None, _doc("Null if AWS is not asked (reconcile.enabled).")]
    certificates: Annotated[
        list[DaemonCertificate] | None,
        _doc("The first to expire first; null if presenced uses no certificate files."),
    ]


class TrendPoint(Answer):
    """The fleet at the beginning of a minute."""

    at: Timestamp
    online: Count
    pending: Count
    offline: Count
    to_online: Annotated[Count, _doc("The transitions to online since the point before.")]
    to_offline: Annotated[Count, _doc("The transitions to offline since the point before.")]


class FleetNow(Answer):
    """How many clients are online, now and before. Pending clients count as online in shares."""

    clients: Annotated[_Counts, _doc("The number of clients by state.")]
    share_online: Annotated[_Share, _doc("Of the clients whose state is known; null without any.")]
    hour_ago: Annotated[_Share, _doc("The share an hour ago; null if presenced did not run then.")]
    day_ago: Annotated[_Share, _doc("The share a day ago; null if presenced did not run then.")]
    trend: Annotated[
        list[TrendPoint],
        _doc("Six hours, one point a minute; minutes without presenced are left out."),
    ]


class OfflineShare(Answer):
    """How many things of a thing type or thing group are offline."""

    name: str
    offline: Count
    of: Annotated[Count, _doc("The number of its things whose state is known.")]


class Standout(Answer):
    """What stands out among the clients that are offline."""

    kind: Annotated[str, _one_of("thing_group", "thing_type", "reason")]
    name: str
    offline: Annotated[Count, _doc("The number of things offline; of clients for a reason.")]
    of: Annotated[
        Count, _doc("Of how many things of the group or type; for a reason, of how many offline.")
    ]
    since: Annotated[
        Timestamp | None, _doc("Since when half of them are offline; null if that is too long ago.")
    ]
    reason: Annotated[str | None, _doc("The main reason; null if it is not known.")]
    text: Annotated[str, _doc("The same in words.")]


class OfflineNow(Answer):
    """Who is offline, and why."""

    by_reason: Annotated[
        _Counts,
        _doc(
            "Offline clients by the reason of their last disconnect; the empty name is for those"
            " without one, `other` for reasons that AWS does not document."
        ),
    ]
    by_thing_type: Annotated[list[OfflineShare], _doc("The worst first, at most 20.")]
    by_thing_group: Annotated[
        list[OfflineShare], _doc("The worst first, at most 20; subgroups count in their parents.")
    ]
    standout: Annotated[Standout | None, _doc("Null if nothing stands out.")]


class StandoutDevice(Answer):
    """A single device that stands out."""

    client_id: str
    kind: Annotated[
        str,
        Meta(
            description="Takeovers of its connection, or connects that the broker refused.",
            extra_json_schema={"enum": get_args(Kind)},
        ),
    ]
    count: Annotated[Count, _doc("Their number within the last hour.")]
    since: Annotated[
        Timestamp,
        _doc(
            "When they began, to ten minutes, with pauses of less than an hour; a restart of"
            " presenced begins anew."
        ),
    ]
    state: Annotated[
        State | None, _doc("Null if nothing but refused connects of it has been received.")
    ]
    text: Annotated[str, _doc("The same in words.")]


class Overview(Answer):
    """The fleet in one look: is it presenced, how bad is it, and where."""

    time: Timestamp
    partitions: Annotated[
        Partitions | None,
        _doc("The partitions that this is about; null if the events do not come from Kafka."),
    ]
    daemon: DaemonNow
    fleet: FleetNow
    offline: OfflineNow
    devices: Annotated[
        list[StandoutDevice], _doc("Single devices that stand out, the worst first; at most 3.")
    ]


class RecentTransition(Transition, tag_field="kind", tag="transition"):
    """A transition of the last hours."""


class MassEventClient(Answer, gc=False):
    """A client of a mass event, as it is now."""

    client_id: str
    state: Annotated[
        State | None, _doc("Null if it is not known any more, or another worker has it.")
    ]
    reason: Annotated[str | None, _doc("The reason of its last disconnect; null without one.")]


class MassEvent(Answer, tag_field="kind", tag="mass"):
    """Many clients that went online, or offline, in short succession."""

    state: Annotated[State, _one_of(State.ONLINE, State.OFFLINE)]
    count: Annotated[Count, _doc("The number of transitions.")]
    first: Annotated[
        Timestamp,
        _doc(
            "When the first state began, as `since` of a transition; of one that took effect more"
            " than 5 min later, when it took effect."
        ),
    ]
    last: Annotated[Timestamp, _doc("When the last state began, likewise.")]
    reasons: Annotated[_Counts, _doc("The reasons of clients that went offline.")]
    thing_types: Annotated[_Counts, _doc("How many were of each thing type, at most 20.")]
    thing_groups: Annotated[
        _Counts, _doc("How many were in each thing group or below it, at most 20.")
    ]
    text: Annotated[str, _doc("The same in words.")]
    clients: Annotated[
        list[MassEventClient], _doc("The clients of the first transitions, at most 100.")
    ]


class Recent(Answer):
    """What happened in the last hours."""

    entries: Annotated[list[RecentTransition | MassEvent], _doc("Newest first.")]
    next_before: Annotated[
        Count | None, _doc("What to pass as `before` for older entries; null if there are none.")
    ]


ANSWERS: tuple[type[msgspec.Struct], ...] = (Overview, Recent)
"""The structs that become components, together with those that they refer to."""
