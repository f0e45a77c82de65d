"""A made-up fleet: the same again by its seed, and the daemon's pipeline finds the truth in it."""

import io
import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from presenced.commands.replay import Replay
from presenced.events.message import Message
from presenced.settings import load_settings
from presenced.system import log
from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.index import FleetIndex
from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.devices import Incident
from presenced_emulator.fleet import FleetPlan
from presenced_emulator.simulate.simulation import (
    ScheduledMessage,
    Simulation,
    summary,
    truth_lines,
)

START = 1_764_072_000.0
IN_ORDER = DeliveryModel(late_rate=0, taken_over_late_rate=0, duplicate_rate=0)


def plan_of(**more: Any) -> FleetPlan:
    wanted: dict[str, Any] = {"devices": 20, "duration": 120.0, "seed": 1, **more}
    return FleetPlan(**wanted)


def simulated(start: float = START, **more: Any) -> tuple[Simulation, list[ScheduledMessage]]:
    simulation = Simulation(plan_of(**more), start)
    return simulation, list(simulation.messages())


def disconnects(messages: list[ScheduledMessage]) -> Counter[str]:
    payloads = (
        json.loads(message.payload) for message in messages if "/disconnected/" in message.topic
    )
    return Counter(fields["disconnectReason"] for fields in payloads)


def clients(published: list[ScheduledMessage], start: float = START) -> dict[str, str]:
    """The state of each client after a replay."""
    messages = (
        Message(
            topic=each.topic,
            payload=each.payload,
            qos=0,
            received=start + each.at,
            moment=start + each.at,
        )
        for each in published
    )
    out = io.BytesIO()
    log.configure("critical")
    configuration = load_settings(None, environ={}, require_endpoint=False)
    Replay(configuration, out, "clients").run(messages, settle=True)
    lines = map(json.loads, out.getvalue().splitlines())
    return {line["client_id"]: line["state"] for line in lines}


def true(simulation: Simulation) -> dict[str, str]:
    lines = map(json.loads, truth_lines(simulation.truth, START))
    return {line["client_id"]: line["state"] for line in lines}


shares = st.floats(0, 1)
plans = st.builds(
    plan_of,
    devices=st.integers(1, 30),
    duration=st.sampled_from([1.0, 30.0, 400.0]),
    seed=st.integers(),
    rate=st.none() | st.sampled_from([0.5, 10.0, 50.0]),
    flaps=st.none() | st.floats(0, 0.5),
    takeovers=st.none() | st.floats(0, 0.5),
    storms=st.integers(0, 3),
    storm_share=shares,
    outage=st.sampled_from([0.5, 10.0]),
    incidents=st.frozensets(st.sampled_from(Incident)),
    delivery=st.builds(
        DeliveryModel,
        late_rate=shares,
        taken_over_late_rate=shares,
        duplicate_rate=shares,
        longest_delay=st.sampled_from([0.2, 1.5, 60.0]),
    ),
)


@given(plans)
@example(plan_of(devices=1, duration=400.0, seed=0, incidents=frozenset({Incident.DARK_HALL})))
@settings(max_examples=60, deadline=None)
def test_the_daemon_finds_the_truth_whatever_the_plan(plan: FleetPlan) -> None:
    simulation = Simulation(plan, START)
    messages = list(simulation.messages())
    assert [message.at for message in messages] == sorted(message.at for message in messages)
    assert len(simulation.truth) == plan.devices
    assert clients(messages) == true(simulation)


def test_the_same_seed_and_start_give_the_same_messages_byte_for_byte() -> None:
    wanted: dict[str, Any] = {"storms": 2, "rate": 20.0}
    assert simulated(**wanted)[1] == simulated(**wanted)[1]
    assert simulated(**wanted)[1] != simulated(**wanted, seed=2)[1]
    later = simulated(**wanted, start=START + 1)[1]
    assert [(message.at, message.topic) for message in later] == [
        (message.at, message.topic) for message in simulated(**wanted)[1]
    ]


def test_a_second_simulation_goes_on_from_the_first() -> None:
    """Clients that the first one left online and the second disconnects are offline."""
    first = simulated()[1]
    simulation = Simulation(plan_of(seed=2), START + 200)
    second = [message._replace(at=message.at + 200) for message in simulation.messages()]
    assert clients(first + second) == true(simulation)


@pytest.mark.parametrize(("rate", "duration"), [(2.0, 3000.0), (20.0, 600.0), (200.0, 120.0)])
def test_the_rate_is_met_on_average(rate: float, duration: float) -> None:
    plan = plan_of(devices=200, duration=duration, rate=rate)
    begun = plan.first_connect(200)
    messages = [
        message for message in Simulation(plan, START).messages() if begun < message.at <= duration
    ]
    assert 0.75 < len(messages) / (duration - begun) / rate < 1.25


def test_storms_take_their_share_at_once_and_bring_it_back() -> None:
    quiet = {"devices": 100, "duration": 100.0, "rate": 0.1, "delivery": IN_ORDER}
    simulation, messages = simulated(**quiet, storms=1, storm_share=0.5, outage=10.0)
    lost = [message.at for message in messages if "/disconnected/" in message.topic]
    assert 35 <= lost.count(50.0) <= 65
    back = [
        message.at
        for message in messages
        if "/presence/connected/" in message.topic and message.at > 50
    ]
    assert len(back) >= lost.count(50.0)
    assert min(back) >= 60.0
    assert sum(each.reason is None for each in simulation.truth.values()) > 90


def test_no_device_connects_twice_or_goes_twice_whatever_storms_there_are() -> None:
    wanted: dict[str, Any] = {"storms": 40, "outage": 0.5, "takeovers": 0.0, "delivery": IN_ORDER}
    online: dict[str, bool] = {}
    for message in simulated(**wanted, duration=400.0)[1]:
        kind, _, client_id = message.topic.removeprefix("$aws/events/presence/").partition("/")
        if kind in ("connected", "disconnected"):
            assert online.get(client_id, False) is not (kind == "connected")
            online[client_id] = kind == "connected"


def test_a_storm_is_the_end_of_a_stay_and_not_one_more() -> None:
    plan = plan_of(
        duration=400.0, storms=40, storm_share=1.0, outage=0.5, takeovers=0.0, delivery=IN_ORDER
    )
    messages = list(Simulation(plan, START).messages())
    times = [message.at for message in messages if "/disconnected/" in message.topic]
    others = [at for at in times if at not in plan.storm_times]
    assert 0 < len(others) < 1.2 * 20 * 400 / 30, "devices stay for 30 s on average"


def test_a_dark_hall_stays_dark_and_the_others_do_not() -> None:
    simulation, _ = simulated(
        devices=100, duration=200.0, rate=0.1, incidents={Incident.DARK_HALL}, delivery=IN_ORDER
    )
    halls = {
        hall: {truth.get(name) for name in simulation.registry.members_of(hall)}
        for truth in [true(simulation)]
        for hall in simulation.registry.groups
        if hall.startswith("hall-")
    }
    dark = [hall for hall, states in halls.items() if "online" not in states]
    assert len(dark) == 1
    members = simulation.registry.members_of(dark[0])
    lost = [simulation.truth[name] for name in members if name in simulation.truth]
    assert len(lost) > 100 / len(halls)
    # A few were away before.
    assert sum(each.reason == "CONNECTION_LOST" for each in lost) > len(lost) / 2


def test_two_devices_with_one_client_id_take_the_connection_from_each_other() -> None:
    messages = simulated(
        devices=10, takeovers=0.0, incidents={Incident.SHARED_CLIENT_ID}, delivery=IN_ORDER
    )[1]
    taken_over = [each for each in messages if b"DUPLICATE_CLIENTID" in each.payload]
    assert len({each.topic for each in taken_over}) == 1
    assert min(each.at for each in taken_over) >= 60
    assert len(taken_over) > 60 / 3 - 1


def test_a_refused_device_tries_again_and_again() -> None:
    simulation, messages = simulated(
        devices=10, incidents={Incident.REFUSED_DEVICE}, delivery=IN_ORDER
    )
    failed = [each for each in messages if "/connect_failed/" in each.topic]
    (client_id,) = {json.loads(each.payload)["clientId"] for each in failed}
    assert len(failed) > 60 / 10 - 1
    assert true(simulation)[client_id] == "offline"


def test_shares_of_endings() -> None:
    wanted: dict[str, Any] = {"devices": 50, "duration": 600.0, "delivery": IN_ORDER}
    all_taken_over = disconnects(simulated(**wanted, takeovers=1.0, flaps=0.0)[1])
    assert set(all_taken_over) == {"DUPLICATE_CLIENTID"}
    none = disconnects(simulated(**wanted, takeovers=0.0)[1])
    assert "DUPLICATE_CLIENTID" not in none
    some = disconnects(simulated(**wanted, takeovers=0.3)[1])
    assert 0.25 < some["DUPLICATE_CLIENTID"] / some.total() < 0.35


def test_flaps_come_back_within_the_offline_delay_at_any_pace() -> None:
    for rate in (0.5, 5.0):
        messages = simulated(
            flaps=1.0, takeovers=0.0, rate=rate, duration=900.0, delivery=IN_ORDER
        )[1]
        gone: dict[str, float] = {}
        for message in messages:
            kind, _, client_id = message.topic.removeprefix("$aws/events/presence/").partition("/")
            if kind == "disconnected":
                gone[client_id] = message.at
            elif kind == "connected" and client_id in gone:
                assert message.at - gone.pop(client_id) < 5


def test_reorder_and_duplicates() -> None:
    in_order = simulated(delivery=IN_ORDER)[1]
    assert len(set(in_order)) == len(in_order)
    twice = simulated(
        delivery=DeliveryModel(late_rate=0, taken_over_late_rate=0, duplicate_rate=1)
    )[1]
    assert len(twice) == 2 * len(in_order)
    late = simulated(delivery=DeliveryModel(late_rate=1, taken_over_late_rate=1, duplicate_rate=0))[
        1
    ]
    assert len(late) == len(in_order)
    assert [message.topic for message in late] != [message.topic for message in in_order]


def test_an_early_end_publishes_only_what_has_happened() -> None:
    simulation = Simulation(plan_of(duration=600.0), START)
    messages = []
    for message in simulation.messages():
        messages.append(message)
        if message.at > 60:
            simulation.end()
    assert max(message.at for message in messages) < 65
    assert clients(messages) == true(simulation)


def test_summary() -> None:
    simulation, _ = simulated()
    online, offline = summary(simulation.truth)
    states = Counter(true(simulation).values())
    assert online.startswith(f"{states['online']} online: ")
    assert offline.startswith(f"{states['offline']} offline")
    assert list(summary({})) == ["0 online.", "0 offline."]


@pytest.mark.parametrize("lag", [(0.0, 0.0), (5.0, 60.0)])
def test_an_account_follows_although_events_are_lost(lag: tuple[float, float]) -> None:
    delivery = DeliveryModel(loss_rate=0.5)
    simulation = Simulation(plan_of(delivery=delivery, takeovers=0.3, changes=True), START)
    index = FleetIndex(random.Random(1), lag)
    account = EmulatedAccount(simulation.registry, simulation.connections, index)
    simulation.on_event(account.on_event)

    published, last = 0, START
    for message in simulation.messages():
        published, last = published + 1, START + message.at
        for name, client in simulation.truth.items():
            record = account.connection(name, last)
            assert record is not None
            assert record.connected is (client.reason is None)
            assert record.since == START + client.since

    rows, more = index.search(None, "", 10_000, last + 60)
    assert not more
    assert {row.name for row in rows} == simulation.registry.things.keys()
    indexed = {row.name: row.connection for row in rows if row.connection}
    named_as_things = simulation.truth.keys() & simulation.registry.things.keys()
    assert indexed.keys() == named_as_things
    for name, connection in indexed.items():
        assert connection.connected is (simulation.truth[name].reason is None)
    _, complete = simulated(takeovers=0.3, changes=True)
    assert published < 0.7 * len(complete)
