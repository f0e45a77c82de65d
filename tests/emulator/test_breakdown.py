from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.truth import (
    Scrape,
    ThingState,
    Truth,
    breakdown_agrees,
)

TYPES = ("sensor", "gateway")
GROUPS = (frozenset({"plants", "hall-1"}), frozenset({"plants", "hall-2"}), frozenset())
NAMES = "abcdef"

thing_states = st.builds(
    ThingState,
    st.sampled_from((*TYPES, "")),
    st.sampled_from(GROUPS),
    st.fixed_dictionaries({"site": st.sampled_from(["n", "s"]), "model": st.just("T")}),
)
registries = st.dictionaries(st.sampled_from(NAMES), thing_states)
names = st.frozensets(st.sampled_from(NAMES))

METRICS = """\
# TYPE iot_thing_type_clients gauge
iot_thing_type_clients{thing_type="sensor",state="online"} 2
iot_thing_type_clients{thing_type="sensor",state="unknown"} 1
# TYPE iot_thing_group_clients gauge
iot_thing_group_clients{thing_group="plants",state="offline"} 3
# TYPE iot_client_info gauge
iot_client_info{client_id="plant/a",thing_type="sensor",site="n",model=""} 1
# TYPE iot_clients gauge
iot_clients{state="online"} 7
"""


def breakdown(counts: Any, labels: Any) -> Scrape:
    return Scrape(0, 0, 0, frozenset(), counts, labels)


def report(truth: Truth) -> Scrape:
    """The report of a daemon that knows the truth; a client that is not connected is unknown."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    clients = {}
    thing_of = {name: name for name in truth.things}
    thing_of |= {thing: client for client, thing in truth.thing_of.items()}
    for name, state_of_thing in truth.things.items():
        client = thing_of[name]
        state = "online" if client in truth.connected else "unknown"
        parts = [("thing_group", group) for group in state_of_thing.groups]
        if state_of_thing.thing_type:
            parts.append(("thing_type", state_of_thing.thing_type))
        for part in parts:
            reported = counts.setdefault(part, {"online": 0, "unknown": 0})
            reported[state] += 1
        clients[client] = {"thing_type": state_of_thing.thing_type, **state_of_thing.attributes}
    for client in truth.connected - clients.keys():
        clients[client] = {"thing_type": "", "site": "", "model": ""}
    return breakdown(counts, clients)


def truth(
    things: dict[str, ThingState],
    connected: frozenset[str],
    in_flight: frozenset[str] = frozenset(),
) -> Truth:
    return Truth(connected, frozenset(), things, {}, in_flight)


SENSOR = ThingState("sensor", frozenset({"plants", "hall-1"}), {"site": "n", "model": "T"})
MOVED = SENSOR._replace(groups=frozenset({"plants", "hall-2"}))
GATEWAY = SENSOR._replace(thing_type="gateway")
NOW = truth({"a": SENSOR, "b": GATEWAY}, frozenset("a"))


def right(scrape: Scrape) -> bool:
    return breakdown_agrees(scrape, NOW, NOW)


def test_reading() -> None:
    assert Scrape.parse(METRICS)._replace(online=0) == breakdown(
        {
            ("thing_type", "sensor"): {"online": 2, "unknown": 1},
            ("thing_group", "plants"): {"offline": 3},
        },
        {"plant/a": {"thing_type": "sensor", "site": "n", "model": ""}},
    )


@given(registries, names)
def test_the_exact_truth_breakdown_agrees(
    things: dict[str, ThingState], connected: frozenset[str]
) -> None:
    now = truth(things, connected)
    assert breakdown_agrees(report(now), now, now)


@given(registries, names, registries, names)
def test_other_numbers_are_wrong(
    things: dict[str, ThingState],
    connected: frozenset[str],
    others: dict[str, ThingState],
    elsewhere: frozenset[str],
) -> None:
    now, reported = truth(things, connected), report(truth(others, elsewhere))
    exact = report(now)
    same = reported.counts == exact.counts and all(
        reported.labels.get(name) == exact.labels[name] for name in connected & things.keys()
    )
    assert breakdown_agrees(reported, now, now) is same


@given(registries, names, registries, names, names)
def test_what_is_in_flight_may_be_reported_either_way(
    things: dict[str, ThingState],
    connected: frozenset[str],
    others: dict[str, ThingState],
    elsewhere: frozenset[str],
    reported: frozenset[str],
) -> None:
    unsure = frozenset(name for name in NAMES if things.get(name) != others.get(name))
    before = truth(things, connected, unsure)
    after = truth(others, elsewhere)
    mixed = {
        name: state_of_thing
        for name in NAMES
        if (state_of_thing := (things if name in reported else others).get(name)) is not None
    }
    online = frozenset(
        name for name in NAMES if name in (connected if name in reported else elsewhere)
    )
    assert breakdown_agrees(report(truth(mixed, online)), before, after)


def test_a_thing_in_another_group_is_wrong() -> None:
    assert right(report(NOW))
    assert not right(report(truth({"a": MOVED, "b": GATEWAY}, frozenset("a"))))


def test_a_thing_of_another_type_is_wrong() -> None:
    assert not right(report(truth({"a": SENSOR, "b": SENSOR}, frozenset("a"))))


def test_types_that_are_swapped_are_wrong_though_the_numbers_are_right() -> None:
    reported = report(NOW)
    swapped = {"a": {"thing_type": "gateway", "site": "n", "model": "T"}}
    assert not right(reported._replace(labels=swapped))


def test_attributes_count() -> None:
    reported = report(NOW)
    assert not right(reported._replace(labels={"a": {**reported.labels["a"], "site": "s"}}))


def test_a_connected_client_of_which_nothing_is_said_is_wrong() -> None:
    assert not right(report(NOW)._replace(labels={}))


def test_an_empty_report_is_wrong() -> None:
    assert not right(breakdown({}, {}))


def test_a_part_too_many_is_wrong() -> None:
    reported = report(NOW)
    extra = {**reported.counts, ("thing_group", "attic"): {"online": 0, "unknown": 1}}
    assert not right(reported._replace(counts=extra))


def test_a_thing_is_looked_up_by_what_its_client_is_called() -> None:
    things = {"plant-pump-1": SENSOR}
    client = "plant/pump-1"
    now = Truth(frozenset({client}), frozenset(), things, {client: "plant-pump-1"}, frozenset())
    assert breakdown_agrees(report(now), now, now)
    unnamed = report(truth(things, frozenset({client})))
    assert not breakdown_agrees(unnamed, now, now)


def test_a_client_in_flight_may_be_online_or_not() -> None:
    now = NOW._replace(clients_in_flight=frozenset("a"))
    assert breakdown_agrees(report(NOW), now, NOW)
    assert breakdown_agrees(report(NOW._replace(connected=frozenset())), now, NOW)
    assert not breakdown_agrees(report(NOW._replace(connected=frozenset("b"))), now, NOW)


def test_with_losses_pending_clients_count_as_online_on_both_sides() -> None:
    truly_pending = NOW._replace(connected=frozenset(), pending=frozenset("a"))
    reported = report(NOW)
    counts = {
        part: {"online": 0, "pending": states["online"]} for part, states in reported.counts.items()
    }
    pending = reported._replace(
        counts={
            part: {**states, "unknown": reported.counts[part]["unknown"]}
            for part, states in counts.items()
        }
    )

    def agrees(scrape: Scrape, now: Truth) -> bool:
        return breakdown_agrees(scrape, now, now, pending_is_online=True)

    assert agrees(pending, NOW)
    assert not right(pending)
    assert agrees(reported, truly_pending)
    assert agrees(pending, truly_pending)
    assert not agrees(reported, NOW._replace(connected=frozenset())), "a is away for longer"
    assert not agrees(report(truly_pending), NOW), "a is connected"
