"""The fast path of ordinary events has the same result as the general one."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import A, arrivals, histories, lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import (
    ClientChange,
    Distribution,
    OrderingRules,
    Presence,
    PresenceRules,
    State,
)
from presenced.presence.ambiguity import follows
from presenced.presence.client import pack
from recorders import fire

UUID = "f7a2c3d4-0000-4000-8000-0123456789ab"
RULES = PresenceRules(
    offline_delay_by_reason={"CLIENT_INITIATED_DISCONNECT": 0.0, "CONNECTION_LOST": 30.0},
    forget_offline_after=120.0,
    ordering=OrderingRules(),
)
REASONS = [None, "CLIENT_INITIATED_DISCONNECT", "CONNECTION_LOST", "SOMETHING_NEW"]

odd_events = st.builds(
    lifecycle,
    connected=st.booleans(),
    timestamp=st.integers(0, 5).map(lambda step: 10**12 + step * A),
    version=st.sampled_from([None, 0, 1, 1, 2, 2, 3]),
    session=st.sampled_from([None, "a", UUID, UUID.upper()]),
    reason=st.sampled_from(REASONS),
)
true_events = histories().flatmap(arrivals)
steps = st.tuples(st.sampled_from([0.0, 1.0, 4.9, 5.0, 31.0, 200.0]), st.integers(0, 9))


@given(
    events=true_events | st.lists(odd_events, max_size=12),
    more=st.lists(steps, min_size=24, max_size=24),
)
@settings(max_examples=600)
def test_fast_and_general_path_have_the_same_result(
    events: list[LifecycleEvent], more: list[tuple[float, int]]
) -> None:
    fast = outcome(events, more)
    with patch("presenced.presence.machine.follows", lambda *_: False):
        assert fast == outcome(events, more)


def outcome(events: list[LifecycleEvent], more: list[tuple[float, int]]) -> object:
    """Everything about a presence after these events, mixed with gaps and forgetting."""
    changes: list[object] = []
    presence = Presence(RULES)
    now = 1000.0
    for each, (wait, chance) in zip(events, more, strict=False):
        now += wait
        changes += map(seen, fire(presence, now, 1e9))
        if chance == 0:
            presence.note_gap(now)
        elif chance == 1:
            changes.append(seen(presence.suppose_online("client", round(now * 1000), now)))
        elif chance == 2:
            changes.append(seen(presence.forget("client", "requested")))
        changes.append(seen(presence.apply(each, now + 1e9, now)))
    changes.append(presence.deadlines.next)
    changes += map(seen, fire(presence, now + 1000, 1e9))
    changes += presence.disconnects.since(0)
    counts = {
        name: (value.buckets, value.sum) if isinstance(value, Distribution) else value
        for name, value in vars(presence.counts).items()
    }
    clients = [
        {name: getattr(client, name) for name in client.__struct_fields__ if name != "replaced"}
        for client in presence.clients.values()
    ]
    return changes, counts, clients


def seen(change: ClientChange | None) -> object:
    """All of a change but the client itself, which changes on."""
    return change and [
        getattr(change, name) for name in change.__struct_fields__ if name != "client"
    ]


def test_ordinary_events_take_the_fast_path() -> None:
    presence = Presence(PresenceRules())
    for number in range(10):
        connected = number % 2 == 0
        each = lifecycle(
            connected=connected, timestamp=10**12 + number, version=number // 2, session=UUID
        )
        if number:
            assert follows(each, presence.clients["client"], pack(each.session))
        presence.apply(each, number * 3.0, number * 3.0)
    assert presence.clients["client"].state is State.PENDING
    assert presence.counts.ignored == {"duplicate": 0, "stale": 0}
