"""Offline clients, and when they are forgotten under rules that change."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import lifecycle
from presenced.presence import Client, Presence, PresenceRules, State
from presenced.presence.deadlines import Deadlines
from presenced.presence.forgetting import OfflineClients
from recorders import fire

DAY = 86400.0
RULES = PresenceRules(offline_delay=5.0, forget_offline_after=30 * DAY)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 99), st.sampled_from(["add", "discard", "pop"]), st.integers(0, 9)
        ),
        max_size=300,
    )
)
def test_the_client_that_has_been_offline_longest_comes_first(
    steps: list[tuple[int, str, int]],
) -> None:
    offline = OfflineClients(Deadlines(), None)
    clients = [Client(str(number)) for number in range(100)]
    model: dict[int, float] = {}
    for number, what, at in steps:
        if what == "add" and number not in model:
            offline.add(clients[number], float(at))
            model[number] = float(at)
        elif what == "discard":
            offline.discard(clients[number])
            model.pop(number, None)
        elif what == "pop" and model:
            longest = min(model.values())
            assert model.pop(int(offline.pop().client_id)) == longest
        assert offline.earliest == min(model.values(), default=None)
        assert len(offline) == len(model)


def offline_since(*times: float, rules: PresenceRules = RULES) -> Presence:
    """Clients that went offline at these times, each named by its time."""
    presence = Presence(rules)
    for at in times:
        event = lifecycle(
            connected=False, timestamp=round(at * 1000), version=1, session="s", client_id=f"{at:g}"
        )
        presence.apply(event, at, at)
        assert presence.clients[f"{at:g}"].state is State.OFFLINE
    return presence


def test_a_shorter_rule_applies_to_clients_that_are_offline_already() -> None:
    presence = offline_since(0.0, 3 * DAY, 9 * DAY)
    presence.use_rules(replace(RULES, forget_offline_after=7 * DAY))
    assert presence.deadlines.next == 7 * DAY
    fire(presence, 9.5 * DAY)
    assert set(presence.clients) == {f"{3 * DAY:g}", f"{9 * DAY:g}"}
    fire(presence, 10 * DAY)
    assert set(presence.clients) == {f"{9 * DAY:g}"}
    assert presence.counts.forgotten["expired"] == 2


def test_a_longer_rule_applies_to_clients_that_are_offline_already() -> None:
    presence = offline_since(0.0)
    presence.use_rules(replace(RULES, forget_offline_after=60 * DAY))
    fire(presence, 59 * DAY)
    assert presence.clients
    fire(presence, 60 * DAY)
    assert not presence.clients


def test_a_first_rule_applies_to_clients_that_are_offline_already() -> None:
    presence = offline_since(0.0, 1.0, rules=replace(RULES, forget_offline_after=None))
    fire(presence, 1000 * DAY)
    assert presence.deadlines.next is None
    presence.use_rules(RULES)
    next(presence.fire(1000 * DAY, 0.0))
    assert set(presence.clients) == {"1"}, "no more at a time than is asked for"
    next(presence.fire(1000 * DAY, 0.0))
    assert not presence.clients
