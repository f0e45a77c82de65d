"""Clients that flap or fight over a client ID: what is counted, held, exposed and answered."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from api_fleet import START, ApiFleet, Get
from histories import A, History, histories
from presenced.events.message import Message
from presenced.events.status import StatusTopic
from presenced.fleet import Fleet, Partition
from presenced.metrics.declaration import MetricSources
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import ClientRule, PresenceRules
from presenced.presence.damping import DampingRules
from presenced.presence.recent_counts import MAX_COUNTED, Counts
from presenced.web.api.openapi import document

Samples = dict[str, dict[str, float]]
FOUGHT = "DUPLICATE_CLIENTID"


def ask(fleet: ApiFleet, use: Callable[[Get], Awaitable[None]]) -> None:
    async def run() -> None:
        async with fleet.served() as get:
            await use(get)

    asyncio.run(run())


def flap(
    fleet: ApiFleet,
    client_id: str,
    times: int,
    *,
    at: float = 0.0,
    lasts: float = 2.0,
    reason: str = "CONNECTION_LOST",
) -> float:
    """Let a client connect and disconnect so many times; return when the last one ended."""
    for version in range(1, times + 1):
        fleet.hear("connected", client_id, version, at=at)
        at += lasts
        fleet.hear("disconnected", client_id, version, at=at, disconnectReason=reason)
        at += 1.0
    return at


def counts(fleet: ApiFleet, client_id: str = "a") -> Counts:
    return fleet.pipeline.flapping.recent.of(client_id, fleet.now)


def samples(view: MetricSources, *labels: str) -> Samples:
    """The values of all metrics with the label `client_id`, by it and further labels."""
    found: Samples = {}
    text = Exposition(view, process_metrics=False).render().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "client_id" in sample.labels and family.name.endswith(("_recent", "_flapping")):
                key = "/".join(sample.labels[each] for each in ("client_id", *labels))
                found.setdefault(family.name, {})[key] = sample.value
    return found


def test_flaps_count_whether_or_not_the_offline_delay_suppresses_them():
    fleet = ApiFleet()
    at = flap(fleet, "a", 2)
    fleet.wait(at + 60)
    assert fleet.presence.clients["a"].state == "offline"
    flap(fleet, "b", 1, at=at + 60, lasts=90)
    assert counts(fleet) == Counts(2, 0, 2)
    assert counts(fleet, "b") == Counts(1, 0, 0)


def test_a_takeover_counts_once_whichever_of_its_events_comes_first():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("connected", version=2, at=100)
    fleet.hear("disconnected", version=1, at=101, happened=100, disconnectReason=FOUGHT)
    fleet.hear("disconnected", version=1, at=102, happened=100, disconnectReason=FOUGHT)
    assert counts(fleet) == Counts(0, 1, 0)
    fleet.hear("disconnected", version=2, at=110, disconnectReason=FOUGHT)
    fleet.hear("connected", version=3, at=111)
    assert counts(fleet) == Counts(0, 2, 1)


def test_the_end_of_a_replaced_connection_is_a_flap_if_it_was_lost():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("connected", version=2, at=30)
    fleet.hear("disconnected", version=1, at=31, happened=29, disconnectReason="CONNECTION_LOST")
    assert counts(fleet) == Counts(1, 0, 1)


def test_one_that_comes_late_counts_when_it_happened():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("disconnected", version=1, at=7200, happened=100)
    assert counts(fleet) == Counts(0, 0, 0)
    fleet.hear("connected", version=2, at=7201)
    fleet.hear("disconnected", version=2, at=7300, happened=7290)
    assert counts(fleet) == Counts(1, 0, 0)
    fleet.wait(7300 + 3600)
    assert counts(fleet) == Counts(0, 0, 0)


def test_clients_of_status_topics_are_counted_too():
    topic = StatusTopic("d/+", "{1}", "on", "off")
    pipeline = Pipeline(Fleet(PresenceRules()), status_topics=[topic])
    for second, text in enumerate([b"off", b"on", b"off", b"off", b"on", b"off"]):
        now = START + second
        pipeline.process([Message("d/a", text, 1, now, now, "presenced")])
    assert pipeline.flapping.recent.of("a", START + 10) == Counts(2, 0, 0)


def test_a_forgotten_client_has_no_counts():
    fleet = ApiFleet()
    fleet.pipeline.flapping.use_damping(DampingRules(), START)
    at = flap(fleet, "a", 5)
    assert fleet.pipeline.flapping.held_until("a", fleet.now) is not None
    fleet.pipeline.forget(["a"], "requested")
    assert counts(fleet) == Counts(0, 0, 0)
    assert fleet.pipeline.flapping.held_until("a", START + at) is None


@given(histories(), st.data())
def test_the_counts_are_those_of_the_events_in_any_order(history: History, data: st.DataObject):
    """Each disconnect counts once, and presence is the same with damping and without."""
    events = [*history.events]
    order = data.draw(st.permutations([*events, *events[:3]]))
    plain, damped = (Pipeline(Fleet(PresenceRules())) for _ in range(2))
    now = max(event.timestamp for event in events) / 1000 + A / 1000
    damped.flapping.use_damping(DampingRules(suppress_after=0.9), now)
    for pipeline in (plain, damped):
        changes = [pipeline.fleet.apply(event, now, now) for event in order]
        pipeline.process([])
        counted = sum(each.ended is not None for each in changes)
        assert counted == sum(pipeline.fleet.presence.counts.disconnects.values())
    (mine,), (other,) = (p.fleet.presence.clients.values() for p in (plain, damped))
    assert (mine.state, mine.since, mine.transition) == (other.state, other.since, other.transition)
    assert plain.fleet.presence.counts.transitions == damped.fleet.presence.counts.transitions


def refuse(fleet: ApiFleet, client_id: str, times: int, *, at: float = 0.0) -> None:
    for number in range(times):
        fleet.hear("connect_failed", client_id, None, at=at + number, principalIdentifier="p")


def test_a_client_that_is_only_ever_refused_is_counted_and_named():
    fleet = ApiFleet(metrics={"per_client": False})
    flap(fleet, "pump", 4)
    refuse(fleet, "gateway", 5, at=20)
    refuse(fleet, "pump", 3, at=30)
    refuse(fleet, "few", 2, at=40)
    refuse(fleet, "presenced", 9, at=50)
    assert "gateway" not in fleet.presence.clients
    assert counts(fleet, "pump") == Counts(4, 0, 4, 3)
    assert samples(fleet.view)["iot_client_connect_failures_recent"] == {"gateway": 5, "pump": 3}

    async def use(get: Get) -> None:
        pump, gateway = (await get("/flapping"))[1]["clients"]
        assert pump["client_id"] == "pump"
        assert (pump["flaps"], pump["refused"], pump["state"]) == (4, 3, "offline")
        zeros = {"flaps": 0, "takeovers": 0, "short_sessions": 0, "held": False}
        assert gateway == zeros | {"client_id": "gateway", "refused": 5, "state": None}

    ask(fleet, use)
    fleet.wait(3600 + 1200)
    assert "iot_client_connect_failures_recent" not in samples(fleet.view)


def test_those_that_are_refused_leave_places_to_those_that_flap():
    fleet = ApiFleet()
    flap(fleet, "pump", 3)
    for number in range(70):
        refuse(fleet, f"g{number}", 4 + (number < 20), at=20 + number)
    assert len(samples(fleet.view)["iot_client_connect_failures_recent"]) == 50

    async def use(get: Get) -> None:
        clients = (await get("/flapping"))[1]["clients"]
        assert len(clients) == 51
        assert {f"g{number}" for number in range(20)} < {each["client_id"] for each in clients}
        assert clients[-1]["client_id"] == "pump"

    ask(fleet, use)


def test_metrics_have_the_worst_and_only_those_from_three_on():
    fleet = ApiFleet(metrics={"client_id_pattern": "(?P<site>[a-z]+)-", "per_client": False})
    flap(fleet, "few", 2)
    flap(fleet, "hall-1", 3)
    flap(fleet, "other", 4, lasts=70)
    for version in range(1, 5):
        fleet.hear("connected", "fight-1", version, at=1000 + version)
        fleet.hear("disconnected", "fight-1", version, at=1000 + version, disconnectReason=FOUGHT)
    found = samples(fleet.view, "site")
    assert found == {
        "iot_client_flaps_recent": {"hall-1/hall": 3, "other/": 4},
        "iot_client_takeovers_recent": {"fight-1/fight": 4},
        "iot_client_short_sessions_recent": {"hall-1/hall": 3, "fight-1/fight": 4},
    }


def test_clients_that_may_have_no_series_have_none_of_these():
    rules = PresenceRules(client_rules=[ClientRule("once-*", None, None, series=False)])
    fleet = ApiFleet(rules)
    flap(fleet, "once-1", 5)
    flap(fleet, "x" * 129, 5)
    refuse(fleet, "once-2", 5, at=100)
    assert samples(fleet.view) == {}
    assert counts(fleet, "once-1").flaps == 5


def test_all_partitions_together_have_at_most_fifty():
    fleets = [ApiFleet(partition=Partition(n, 2)) for n in range(2)]
    for number in range(60):
        flap(fleets[number % 2], f"c{number}", 3 + (number >= 40))
    view = MetricSources(
        lambda: [each for fleet in fleets for each in fleet.view.fleets()],
        "kafka",
        partitioned=True,
    )
    for fleet, number in zip(fleets, range(2), strict=True):
        (sources,) = fleet.view.fleets()
        sources.partition = Partition(number, 2)
    found = samples(view, "partition")["iot_client_flaps_recent"]
    assert len(found) == 50
    assert {f"c{n}/{n % 2}" for n in range(40, 60)} < found.keys()


def test_a_client_is_held_in_metrics_and_api_and_its_presence_is_true():
    fleet = ApiFleet()
    fleet.pipeline.flapping.use_damping(DampingRules(), START)
    at = flap(fleet, "a", 4)
    fleet.wait(at + 60)
    assert samples(fleet.view)["iot_client_flapping"] == {"a": 1}
    text = Exposition(fleet.view, process_metrics=False).render().decode()
    assert "\niot_clients_flapping 1.0" in text
    assert 'iot_client_connected{client_id="a"} 0' in text

    async def held(get: Get) -> None:
        _, story = await get("/clients/a")
        assert story["state"] == "offline"
        assert story["flapping_until"] > "2023-11-14T22:40"
        assert "Held as flapping until 2023-11-14 22:4" in story["explanation"]
        (client,) = (await get("/flapping"))[1]["clients"]
        assert (client["held"], client["state"]) == (True, "offline")

    async def released(get: Get) -> None:
        _, story = await get("/clients/a")
        assert story["flapping_until"] is None
        assert "Held" not in story["explanation"]

    ask(fleet, held)
    fleet.wait(at + 4 * 900)
    ask(fleet, released)
    assert "iot_client_flapping" not in samples(fleet.view)


def test_without_damping_no_client_is_held():
    fleet = ApiFleet()
    flap(fleet, "a", 20)
    text = Exposition(fleet.view, process_metrics=False).render().decode()
    assert "\niot_clients_flapping " not in text
    assert "iot_client_flapping" not in samples(fleet.view)


def test_the_api_answers_as_its_document_says():
    fleet = ApiFleet()
    flap(fleet, "calm", 2)
    flap(fleet, "pump", 4)
    beside = ApiFleet(partition=Partition(1, 2), beside=fleet)
    at = flap(beside, "camera", 6, lasts=60.0)
    fleet.wait(at)

    async def use(get: Get) -> None:
        status, answer = await get("/flapping")
        assert status == 200
        schema = {
            "$ref": "#/components/schemas/Flapping",
            "components": json.loads(json.dumps(document()["components"])),
        }
        Draft202012Validator(schema).validate(answer)
        base = {"takeovers": 0, "refused": 0, "state": "offline", "held": False}
        assert answer == {
            "clients": [
                base | {"client_id": "camera", "flaps": 6, "short_sessions": 0, "state": "pending"},
                base | {"client_id": "pump", "flaps": 4, "short_sessions": 4},
            ],
            "window_seconds": 3600,
        }
        assert (await get("/flapping?limit=3"))[0] == 400
        fleet.holding = False
        assert (await get("/flapping"))[0] == 503

    ask(fleet, use)


@pytest.mark.parametrize("parts", [1, 64])
def test_memory_is_bounded_whatever_the_fleet_does(parts: int) -> None:
    pipeline = Pipeline(Fleet(PresenceRules()), parts=parts)
    detector, limit = pipeline.flapping, -(-MAX_COUNTED // parts)
    detector.use_damping(DampingRules(), START)
    for number in range(limit + 100):
        payload = b'{"versionNumber": 1, "sessionIdentifier": "s"}'
        for kind in ("disconnected", "connect_failed"):
            topic = f"$aws/events/presence/{kind}/{kind[3]}{number}"
            pipeline.process([Message(topic, payload, 1, START, START, "presenced")])
    assert 0.4 * limit < len(detector.recent.at_least(1, START)) <= limit
    assert detector.damping is not None
    assert 0 < len(detector.damping) <= limit
