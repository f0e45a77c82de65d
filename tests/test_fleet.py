"""Presence and the registry together: which client belongs to a thing, and where it counts."""

from collections import Counter
from random import Random

import pytest

from fleet_bench import DELAY, Bench
from fleet_sources import metric_sources
from presenced.fleet import Description
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules, State
from presenced.presence.name_patterns import ClientFilter
from presenced.presence.record import Row
from presenced.settings import MetricsSettings
from registries import group, link, member, thing
from registry.life import Registry


def test_a_thing_that_never_connected_is_unknown() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"), member("hall", "a"))
    assert bench.states == {"a": "unknown"}
    assert bench.by_type == {("pump", "unknown"): 1}
    assert bench.by_group == {("hall", "unknown"): 1}
    assert bench.transitions == [], "no transition"
    bench.connect("a")
    assert bench.by_group == {("hall", "online"): 1}


def test_a_client_counts_once_in_each_group_and_in_those_above() -> None:
    bench = Bench()
    bench.learn(
        link("site", "hall"), link("site", "yard"), member("hall", "a"), member("yard", "a")
    )
    bench.connect("a")
    assert bench.by_group == {(name, "online"): 1 for name in ("hall", "yard", "site")}
    bench.learn(member("yard", "a", 1, added=False))
    assert bench.by_group == {(name, "online"): 1 for name in ("hall", "site")}


def test_a_client_counts_in_all_groups_that_an_event_of_its_group_names() -> None:
    bench = Bench()
    bench.learn(group("hall", "site", 1, ancestors=["country", "site"]), member("hall", "a", 2))
    bench.connect("a")
    assert bench.by_group == {(name, "online"): 1 for name in ("hall", "site", "country")}
    bench.learn(link("world", "country", 3))
    assert bench.by_group["world", "online"] == 1
    bench.learn(group("site", at=4, type="deleted"))
    assert bench.by_group == {("hall", "online"): 1}


def test_groups_know_states_as_they_change() -> None:
    bench = Bench()
    bench.learn(member("hall", "a"))
    seen = []
    bench.connect("a")
    seen.append(bench.by_group)
    bench.disconnect("a")
    seen.append(bench.by_group)
    bench.wait(DELAY)
    seen.append(bench.by_group)
    assert seen == [{("hall", state): 1} for state in ("online", "pending", "offline")]


def test_a_client_is_the_thing_that_its_events_name() -> None:
    bench = Bench()
    bench.learn(thing("pump-7", "pump"))
    assert bench.states == {"pump-7": "unknown"}
    bench.connect("line/7", "pump-7")
    assert bench.states == {"line/7": "online"}, "the thing is known by its own client"
    assert bench.by_type == {("pump", "online"): 1}
    assert bench.fleet.describe(bench.fleet.presence.clients["line/7"]).thing_type == "pump"
    bench.disconnect("line/7")
    assert bench.by_type == {("pump", "pending"): 1}, "a disconnect need not name it again"


def test_a_forgotten_client_leaves_its_thing_and_that_of_its_own_name_unknown() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"), thing("b", "valve"))
    bench.connect("a", "b")
    assert bench.states == {"a": "online"}
    bench.fleet.forget("a", "requested")
    assert bench.states == {"a": "unknown", "b": "unknown"}
    assert bench.by_type == {("pump", "unknown"): 1, ("valve", "unknown"): 1}


def test_a_row_of_a_thing_whose_client_has_another_id_adds_no_client() -> None:
    """AWS associates a thing with the client of its own name, which never connected."""
    bench = Bench()
    bench.learn(thing("plant-pump", "pump"))
    bench.connect("plant/pump", "plant-pump")
    row = Row("plant-pump", connected=False, timestamp=None, asked=1.0, gap_epoch=0, operation="x")
    bench.fleet.merge(row, bench.now)
    assert bench.states == {"plant/pump": "online"}
    assert bench.by_type == {("pump", "online"): 1}


def test_two_clients_may_be_one_thing() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"))
    bench.connect("a")
    bench.connect("b", "a")
    assert bench.by_type == {("pump", "online"): 1}, "the thing counts once"


def test_a_client_that_becomes_another_thing_leaves_the_first_one_unknown() -> None:
    bench = Bench()
    bench.learn(thing("one", "pump"), thing("two", "valve"))
    bench.connect("c", "one")
    bench.connect("c", "two")
    assert bench.by_type == {("pump", "unknown"): 1, ("valve", "online"): 1}
    assert bench.states == {"one": "unknown", "c": "online"}


@pytest.mark.parametrize("state", ["offline", "unknown"])
def test_a_deleted_thing_that_is_not_online_is_forgotten(state: str) -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"), member("hall", "a"))
    if state == "offline":
        bench.connect("a")
        bench.disconnect("a")
        bench.wait(DELAY)
    assert bench.states == {"a": state}
    bench.learn(thing("a", at=9, type="deleted"))
    assert bench.states == bench.by_type == bench.by_group == {}
    assert bench.forgotten == ["a"]
    assert bench.fleet.presence.counts.forgotten == {
        "expired": 0,
        "thing_deleted": 1,
        "requested": 0,
    }
    assert not +bench.counted


def test_a_deleted_thing_that_is_online_is_forgotten_when_it_goes_offline() -> None:
    bench = Bench()
    bench.connect("a")
    bench.learn(thing("a", "pump"), thing("a", at=9, type="deleted"))
    assert bench.states == {"a": "online"}
    assert bench.by_type == {}, "it has no type any more"
    bench.disconnect("a")
    assert bench.states == {"a": "pending"}
    bench.wait(DELAY)
    assert bench.states == {}
    assert bench.transitions[-1] == ("a", State.OFFLINE), "the transition comes first"
    assert bench.fleet.presence.counts.forgotten["thing_deleted"] == 1


def test_a_late_copy_does_not_bring_back_a_client_whose_thing_was_deleted() -> None:
    bench = Bench()
    bench.learn(thing("a"))
    bench.connect("a")
    bench.disconnect("a")
    bench.wait(DELAY)
    bench.learn(thing("a", at=9, type="deleted"))
    bench.disconnect("a")
    assert bench.states == {}
    assert bench.fleet.presence.counts.ignored["duplicate"] == 1
    bench.connect("a")
    assert bench.states == {"a": "online"}, "a new connection does"


def test_a_deletion_that_comes_before_the_creation() -> None:
    bench = Bench()
    bench.learn(thing("a", at=9, type="deleted"), thing("a", "pump", 1))
    assert bench.states == bench.by_type == {}


def test_an_expired_client_whose_thing_exists_is_unknown_again() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"))
    bench.connect("a")
    bench.disconnect("a")
    bench.wait(DELAY)
    bench.wait(86400)
    assert bench.forgotten == ["a"]
    assert bench.fleet.presence.counts.forgotten["expired"] == 1
    assert bench.by_type == {("pump", "unknown"): 1}


def test_an_online_client_never_expires() -> None:
    bench = Bench()
    bench.connect("a")
    bench.wait(10 * 86400)
    assert bench.states == {"a": "online"}


def test_clients_that_do_not_count_are_made_by_no_thing() -> None:
    bench = Bench(own=["presenced"], patterns=["test-*"])
    bench.learn(thing("presenced"), thing("test-1"), thing("a"))
    assert bench.states == {"a": "unknown"}
    bench.fleet.use_filter(ClientFilter(patterns=["a"]))
    assert bench.states == {"presenced": "unknown", "test-1": "unknown"}


def test_changes_of_attributes_and_type_are_reported() -> None:
    bench = Bench()
    bench.connect("a")
    client = bench.fleet.presence.clients["a"]
    assert bench.fleet.describe(client) == Description("", {})
    bench.learn(thing("a", "pump", attributes={"site": "north"}))
    assert bench.described[-1] == "a"
    assert bench.fleet.describe(client) == Description("pump", {"site": "north"})
    bench.learn(thing("a", at=9, type="deleted"))
    assert bench.fleet.describe(client) == Description("", {})


def test_a_subscription_shows_that_an_unknown_client_is_online() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"))
    bench.subscribe("a")
    bench.subscribe("b")
    bench.subscribe("c", "unsubscribed")
    assert bench.states == {"a": "online", "b": "online"}
    assert bench.by_type == {("pump", "online"): 1}
    assert bench.fleet.presence.counts.supposed_online == 2
    assert [state for _, state in bench.transitions] == [State.ONLINE] * 2


def test_a_subscription_names_the_thing_too() -> None:
    bench = Bench()
    bench.learn(thing("pump-7", "pump"))
    bench.subscribe("line/7", thing_name="pump-7")
    assert bench.by_type == {("pump", "online"): 1}


@pytest.mark.parametrize("connected", [True, False])
def test_any_lifecycle_event_overrules_a_subscription(*, connected: bool) -> None:
    bench = Bench()
    bench.subscribe("a")
    bench.lifecycle("a", connected=connected)
    assert bench.states == {"a": "online" if connected else "pending"}
    counts = bench.fleet.presence.counts
    assert counts.connections_replaced == 0, "nothing was known to be replaced"
    assert len(bench.transitions) == 1


def test_a_subscription_changes_nothing_about_a_known_client() -> None:
    bench = Bench()
    bench.connect("a")
    bench.disconnect("a")
    bench.wait(DELAY)
    bench.subscribe("a")
    assert bench.states == {"a": "offline"}
    bench.learn(thing("a", at=9, type="deleted"))
    bench.subscribe("a")
    assert bench.states == {}, "known, though forgotten"
    assert bench.fleet.presence.counts.supposed_online == 0


class Company:
    """A large registry with devices that come and go, and a daemon that hears of both."""

    def __init__(self, random: Random, *, things: int, groups: int) -> None:
        self.random = random
        self.registry = Registry(
            random,
            things=tuple(f"t{number}" for number in range(things)),
            groups=tuple(f"g{number}" for number in range(groups)),
            types=("pump", "valve", "sensor"),
        )
        self.bench = Bench()
        self._things, self._groups = things, groups

    def found(self) -> None:
        """Types, groups six levels deep, and things in them."""
        registry = self.registry
        for kind in ("pump", "valve", "sensor"):
            registry.change_type(kind)
        levels: list[list[str]] = [[""]]
        for number in range(self._groups):
            depth = number % 6 if number > 12 else 0
            parents = levels[min(depth, len(levels) - 1)]
            name = f"g{number}"
            registry.create_group(name, self.random.choice(parents))
            level = len(registry.lineage(name))
            if level == len(levels):
                levels.append([])
            levels[level].append(name)
        assert len(levels) == 7, "six levels, and the top"
        for number in range(self._things):
            registry.create_thing(f"t{number}")
            for _ in range(self.random.randrange(3)):
                registry.now += 1
                registry.toggle_membership(f"t{number}")

    def live(self, changes: int) -> None:
        """Let things, groups and devices change, and the events arrive in any order, some twice."""
        for _ in range(changes):
            self.registry.now += 1
            if self.random.random() < 0.01:
                self.registry.change_group(f"g{self.random.randrange(self._groups)}")
            else:
                self.registry.change_thing(f"t{self.random.randrange(self._things)}")
        self.deliver()
        for _ in range(changes):
            number = self.random.randrange(self._things)
            client_id, named = f"t{number}", None
            if number % 10 == 0:
                client_id, named = f"line/{number}", f"t{number}"
            self.bench.lifecycle(client_id, connected=self.random.random() < 0.6, thing_name=named)
        self.bench.wait(self.random.choice([1.0, DELAY]))

    def deliver(self) -> None:
        events = self.registry.events
        events += self.random.choices(events, k=len(events) // 10)
        self.random.shuffle(events)
        self.bench.learn(*events)
        events.clear()

    def recount(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """Clients by type and by group, from the true registry and each client's presence."""
        types: Counter[tuple[str, str]] = Counter()
        groups: Counter[tuple[str, str]] = Counter()
        for client in self.bench.fleet.presence.clients.values():
            one = self.registry.things.get(client.thing_name or client.client_id)
            if one is None:
                continue
            state = client.state.value
            if one.kind:
                types[one.kind, state] += 1
            for name in {each for g in one.groups for each in self.registry.lineage(g)}:
                groups[name, state] += 1
        return types, groups


def test_a_large_fleet_counts_right_after_every_batch() -> None:
    company = Company(Random(11), things=20_000, groups=500)
    company.found()
    company.deliver()
    bench = company.bench
    states = set()
    for _ in range(12):
        company.live(1_500)
        assert (bench.by_type, bench.by_group) == company.recount()
        assert set(bench.fleet.inventory.groups.live) == set(company.registry.groups)
        represented = {c.thing for c in bench.fleet.presence.clients.values()}
        assert represented >= set(company.registry.things), "each thing has a client"
        states |= {state for _, state in bench.by_group}
    assert bench.counted == bench.fleet.presence.counts.clients
    assert states == set(State)
    assert bench.fleet.presence.counts.forgotten["thing_deleted"] > 100
    metrics = ClientMetrics(bench.fleet, MetricsSettings())
    sources = metric_sources(Pipeline(bench.fleet), metrics)
    text = Exposition(sources, process_metrics=False).render().decode()
    for (name, state), count in company.recount()[1].items():
        line = f'iot_thing_group_clients{{state="{state}",thing_group="{name}"}} {float(count)}'
        assert line in text


def test_a_group_of_the_whole_fleet_moves() -> None:
    bench = Bench()
    bench.learn(*(member("hall", f"t{number}") for number in range(10_000)))
    bench.learn(group("hall", "site", 2))
    assert bench.by_group[("site", "unknown")] == 10_000


def test_a_client_forgotten_while_its_group_is_deleted_counts_once() -> None:
    """A client of a deleted thing has the name of another thing, and both are in the group."""
    bench = Bench()
    bench.connect("b", "a")
    bench.disconnect("b")
    bench.wait(DELAY)
    bench.learn(
        thing("b", "pump", 1),
        member("hall", "a", 20),
        member("hall", "b", 20),
        thing("a", at=10, type="deleted"),
        group("hall", at=30, type="deleted", version=2),
    )
    assert bench.states == {"b": "unknown"}
    assert bench.by_type == {("pump", "unknown"): 1}


def test_a_client_forgotten_at_once_becomes_unknown_under_its_own_name() -> None:
    bench = Bench()
    bench.fleet.presence.use_rules(PresenceRules(offline_delay=0.0))
    bench.learn(thing("x", "pump"))
    bench.connect("x", "t")
    bench.learn(thing("t", at=9, type="deleted"))
    bench.lifecycle("x", connected=False, thing_name="t")
    assert bench.states == {"x": "unknown"}
    assert bench.by_type == {("pump", "unknown"): 1}
