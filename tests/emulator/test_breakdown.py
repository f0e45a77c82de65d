from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from presenced_emulator.truth import Breakdown, Roll, Standing, Truth, is_right

TYPES = ("sensor", "gateway")
GROUPS = (frozenset({"plants", "hall-1"}), frozenset({"plants", "hall-2"}), frozenset())
NAMES = "abcdef"

standings = st.builds(
    Standing,
    st.sampled_from((*TYPES, "")),
    st.sampled_from(GROUPS),
    st.fixed_dictionaries({"site": st.sampled_from(["n", "s"]), "model": st.just("T")}),
)
rolls = st.dictionaries(st.sampled_from(NAMES), standings)
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


def tell(truth: Truth) -> Breakdown:
    """What a daemon that knows the truth says; who is not connected is unknown."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    clients = {}
    thing_of = {name: name for name in truth.roll.things}
    thing_of |= {thing: client for client, thing in truth.roll.thing_of.items()}
    for name, standing in truth.roll.things.items():
        client = thing_of[name]
        state = "online" if client in truth.connected else "unknown"
        parts = [("thing_group", group) for group in standing.groups]
        if standing.thing_type:
            parts.append(("thing_type", standing.thing_type))
        for part in parts:
            told = counts.setdefault(part, {"online": 0, "unknown": 0})
            told[state] += 1
        clients[client] = {"thing_type": standing.thing_type, **standing.attributes}
    for client in truth.connected - clients.keys():
        clients[client] = {"thing_type": "", "site": "", "model": ""}
    return Breakdown(counts, clients)


def truth(
    things: dict[str, Standing], connected: frozenset[str], in_flight: frozenset[str] = frozenset()
) -> Truth:
    return Truth(connected, frozenset(), Roll(things, {}, in_flight))


SENSOR = Standing("sensor", frozenset({"plants", "hall-1"}), {"site": "n", "model": "T"})
MOVED = SENSOR._replace(groups=frozenset({"plants", "hall-2"}))
GATEWAY = SENSOR._replace(thing_type="gateway")
NOW = truth({"a": SENSOR, "b": GATEWAY}, frozenset("a"))


def right(breakdown: Breakdown) -> bool:
    return is_right(breakdown, NOW, NOW)


def test_reading() -> None:
    families = text_string_to_metric_families(METRICS)
    samples = [sample for family in families for sample in family.samples]
    assert Breakdown.read(samples) == Breakdown(
        {
            ("thing_type", "sensor"): {"online": 2, "unknown": 1},
            ("thing_group", "plants"): {"offline": 3},
        },
        {"plant/a": {"thing_type": "sensor", "site": "n", "model": ""}},
    )


@given(rolls, names)
def test_the_exact_truth_is_right(things: dict[str, Standing], connected: frozenset[str]) -> None:
    now = truth(things, connected)
    assert is_right(tell(now), now, now)


@given(rolls, names, rolls, names)
def test_other_numbers_are_wrong(
    things: dict[str, Standing],
    connected: frozenset[str],
    others: dict[str, Standing],
    elsewhere: frozenset[str],
) -> None:
    now, told = truth(things, connected), tell(truth(others, elsewhere))
    exact = tell(now)
    same = told.counts == exact.counts and all(
        told.clients.get(name) == exact.clients[name] for name in connected & things.keys()
    )
    assert is_right(told, now, now) is same


@given(rolls, names, rolls, names, names)
def test_what_is_in_flight_may_be_told_either_way(
    things: dict[str, Standing],
    connected: frozenset[str],
    others: dict[str, Standing],
    elsewhere: frozenset[str],
    told: frozenset[str],
) -> None:
    unsure = frozenset(name for name in NAMES if things.get(name) != others.get(name))
    before = truth(things, connected, unsure)
    after = truth(others, elsewhere)
    mixed = {
        name: standing
        for name in NAMES
        if (standing := (things if name in told else others).get(name)) is not None
    }
    online = frozenset(name for name in NAMES if name in (connected if name in told else elsewhere))
    assert is_right(tell(truth(mixed, online)), before, after)


def test_a_thing_in_another_group_is_wrong() -> None:
    assert right(tell(NOW))
    assert not right(tell(truth({"a": MOVED, "b": GATEWAY}, frozenset("a"))))


def test_a_thing_of_another_type_is_wrong() -> None:
    assert not right(tell(truth({"a": SENSOR, "b": SENSOR}, frozenset("a"))))


def test_types_that_are_swapped_are_wrong_though_the_numbers_are_right() -> None:
    told = tell(NOW)
    swapped = {"a": {"thing_type": "gateway", "site": "n", "model": "T"}}
    assert not right(replace(told, clients=swapped))


def test_attributes_count() -> None:
    told = tell(NOW)
    assert not right(replace(told, clients={"a": {**told.clients["a"], "site": "s"}}))


def test_a_connected_client_of_which_nothing_is_said_is_wrong() -> None:
    assert not right(replace(tell(NOW), clients={}))


def test_nothing_told_is_wrong() -> None:
    assert not right(Breakdown())


def test_a_part_too_many_is_wrong() -> None:
    told = tell(NOW)
    extra = {**told.counts, ("thing_group", "attic"): {"online": 0, "unknown": 1}}
    assert not right(replace(told, counts=extra))


def test_a_thing_is_looked_up_by_what_its_client_is_called() -> None:
    things = {"plant-pump-1": SENSOR}
    client = "plant/pump-1"
    roll = Roll(things, {client: "plant-pump-1"})
    now = Truth(frozenset({client}), frozenset(), roll)
    assert is_right(tell(now), now, now)
    unnamed = tell(truth(things, frozenset({client})))
    assert not is_right(unnamed, now, now)


def test_a_client_in_flight_may_be_online_or_not() -> None:
    now = replace(NOW, in_flight=frozenset("a"))
    assert is_right(tell(NOW), now, NOW)
    assert is_right(tell(replace(NOW, connected=frozenset())), now, NOW)
    assert not is_right(tell(replace(NOW, connected=frozenset("b"))), now, NOW)
