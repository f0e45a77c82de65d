"""Text of the per-client series."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from described_fleet import DescribedFleet
from presenced.fleet import Description
from presenced.metrics.series import ClientSeries, series_blocks
from presenced.presence import Client, State
from presenced.system import log


def client(client_id: str, state: State = State.ONLINE, transition: float = 1.5) -> Client:
    made = Client(client_id)
    made.state, made.transition = state, transition
    return made


def samples(series: ClientSeries) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(
            b"".join(block.text for block in series_blocks([series])).decode()
        )
        for sample in family.samples
    }


def test_samples_of_a_client() -> None:
    series = DescribedFleet().series()
    series.add(client("a", State.PENDING, 1672742949.25))
    series.add(client("b", State.OFFLINE, 2.0))
    assert samples(series) == {
        ("iot_client_connected", (("client_id", "a"),)): 1,
        ("iot_client_connected", (("client_id", "b"),)): 0,
        ("iot_client_info", (("client_id", "a"), ("thing_type", ""))): 1,
        ("iot_client_info", (("client_id", "b"), ("thing_type", ""))): 1,
        ("iot_client_last_transition_timestamp_seconds", (("client_id", "a"),)): 1672742949.25,
        ("iot_client_last_transition_timestamp_seconds", (("client_id", "b"),)): 2.0,
    }


def test_a_change_is_rendered_and_a_forgotten_client_is_removed() -> None:
    series = DescribedFleet().series()
    series.add(client("a"))
    assert samples(series)["iot_client_connected", (("client_id", "a"),)] == 1
    series.show(client("a", State.OFFLINE))
    assert samples(series)["iot_client_connected", (("client_id", "a"),)] == 0
    series.drop(client("a"))
    series.drop(client("never shown"))
    assert samples(series) == {}


def test_there_is_no_series_if_they_are_disabled() -> None:
    series = DescribedFleet().series(per_client=False)
    series.add(client("a"))
    assert list(series_blocks([series])) == []


def ids(series: ClientSeries) -> set[str]:
    return {dict(labels)["client_id"] for _, labels in samples(series)}


class Crowd:
    """Clients that arrive and are forgotten, and their series."""

    def __init__(self, limit: int) -> None:
        self.fleet = DescribedFleet()
        self.clients = self.fleet.clients
        self.series = self.fleet.series(max_clients=limit)

    def arrive(self, *names: str) -> None:
        for name in names:
            self.clients[name] = client(name)
            self.series.add(self.clients[name])

    def forget(self, *names: str) -> None:
        for gone in [self.clients.pop(name) for name in names]:
            self.series.drop(gone)


def test_the_first_to_come_have_series_and_the_longest_waiting_follow() -> None:
    crowd = Crowd(2)
    crowd.arrive("z", "y", "b", "a")
    crowd.clients["y"].state = State.OFFLINE
    crowd.series.show(crowd.clients["y"])
    assert ids(crowd.series) == {"z", "y"}, "nothing depends on the alphabet"
    crowd.forget("z")
    assert ids(crowd.series) == {"y", "b"}
    crowd.arrive("z")
    crowd.forget("y")
    assert ids(crowd.series) == {"b", "a"}
    crowd.forget("a", "b")
    assert ids(crowd.series) == {"z"}
    assert crowd.series.shown == 1


def test_clients_without_series_wait_for_a_free_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")
    crowd = Crowd(2)
    crowd.arrive(*"abcde")
    crowd.clients["d"].state = State.OFFLINE
    crowd.series.show(crowd.clients["d"])
    crowd.forget("c")
    assert ids(crowd.series) == {"a", "b"}
    crowd.forget("a")
    assert ids(crowd.series) == {"b", "d"}, "a waiting client is taken at once, a forgotten one not"
    assert samples(crowd.series)["iot_client_connected", (("client_id", "d"),)] == 0, "as it is now"
    crowd.forget("d")
    assert ids(crowd.series) == {"b", "e"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["value"] == 2
    crowd.forget("b")
    crowd.arrive("f", "g")
    assert len(capsys.readouterr().err.splitlines()) == 1, "the limit was reached again"


def test_clients_that_are_forgotten_together_leave_no_place_free() -> None:
    crowd = Crowd(2)
    crowd.arrive(*"abcde")
    forgotten = [crowd.clients.pop(name) for name in "ac"]
    crowd.clients["d"] = Client("d")  # forgotten too; a thing of this name exists
    for each in forgotten:
        crowd.series.drop(each)
    assert ids(crowd.series) == {"b", "e"}


def found_offline(crowd: Crowd, *names: str) -> None:
    """Let AWS's record tell of clients that are offline."""
    for name in names:
        crowd.clients[name] = client(name, State.OFFLINE)
        crowd.clients[name].adopted, crowd.clients[name].transition = True, None
        crowd.series.add(crowd.clients[name])


def goes_online(crowd: Crowd, name: str) -> None:
    crowd.clients[name].adopted, crowd.clients[name].transition = False, 7.0
    crowd.clients[name].state = State.ONLINE
    crowd.series.show(crowd.clients[name])


TRANSITION = "iot_client_last_transition_timestamp_seconds"


def test_a_client_that_was_offline_when_first_known_has_no_last_transition() -> None:
    crowd = Crowd(3)
    found_offline(crowd, "a")
    crowd.arrive("b")
    shown = samples(crowd.series)
    assert shown["iot_client_connected", (("client_id", "a"),)] == 0
    assert [labels for name, labels in shown if name == TRANSITION] == [(("client_id", "b"),)]
    goes_online(crowd, "a")
    shown = samples(crowd.series)
    assert shown["iot_client_connected", (("client_id", "a"),)] == 1
    assert shown[TRANSITION, (("client_id", "a"),)] == 7.0
    crowd.clients["a"].transition = 8.0
    crowd.series.show(crowd.clients["a"])
    assert samples(crowd.series)[TRANSITION, (("client_id", "a"),)] == 8.0


def test_a_client_that_was_offline_when_first_known_gives_its_place_to_one_with_events() -> None:
    crowd = Crowd(3)
    found_offline(crowd, "a", "b")
    crowd.arrive("c", "d")
    assert ids(crowd.series) == {"a", "c", "d"}, "the one that came last"
    found_offline(crowd, "e")
    goes_online(crowd, "a")
    crowd.arrive("f")
    assert ids(crowd.series) == {"a", "c", "d"}, "a client with events keeps its place"
    crowd.forget("c")
    assert ids(crowd.series) == {"a", "d", "f"}, "those with events are first in the queue"
    crowd.forget("d")
    assert ids(crowd.series) == {"a", "b", "f"}
    goes_online(crowd, "e")
    assert ids(crowd.series) == {"a", "e", "f"}, "with its first event a waiting one has a claim"
    crowd.forget("a", "e")
    assert ids(crowd.series) == {"b", "f"}
    assert [each.client_id for each in crowd.series.clients()] == ["f", "b"]


def test_an_event_without_a_transition_is_a_claim_too() -> None:
    crowd = Crowd(1)
    found_offline(crowd, "a", "b")
    crowd.clients["b"].adopted = False  # by a disconnect, of a connection that nothing told of
    crowd.series.note_event(crowd.clients["b"])
    assert ids(crowd.series) == {"b"}
    assert TRANSITION not in {name for name, _ in samples(crowd.series)}
    crowd.arrive("c")
    assert ids(crowd.series) == {"b"}


LONG = [
    ("x" * 128, True),
    ("x" * 129, False),
    ("ü" * 64, True),
    ("ü" * 64 + "x", False),
    ("\U0001f69c" * 32, True),
    ("\U0001f69c" * 33, False),
]


@pytest.mark.parametrize(
    ("name", "has_series"), LONG, ids=[f"{len(n.encode())} bytes" for n, _ in LONG]
)
def test_a_client_id_longer_than_aws_allows_has_no_series(
    name: str, has_series: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "json")
    crowd = Crowd(1)
    crowd.arrive(name, "b")
    assert ids(crowd.series) == {name if has_series else "b"}
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"].startswith("client ID too long") for line in lines] == [not has_series]
    crowd.series.show(crowd.clients[name])
    crowd.forget(name)
    assert ids(crowd.series) == {"b"}


names = st.text("ab-", max_size=3)


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from(["arrive", "forget"]), names), max_size=60),
    st.integers(0, 6),
)
def test_the_first_of_those_that_are_known_have_series(
    limit: int, steps: list[tuple[str, str]], other_limit: int
) -> None:
    crowd = Crowd(limit)
    order: list[str] = []
    for step, name in steps:
        if step == "arrive" and name not in order:
            crowd.arrive(name)
            order.append(name)
        elif step == "forget" and name in order:
            crowd.forget(name)
            order.remove(name)
        assert ids(crowd.series) == set(order[:limit])
        assert crowd.series.shown == min(limit, len(order))
    assert [each.client_id for each in crowd.series.clients()] == order
    another = crowd.fleet.series(max_clients=other_limit)
    for each in crowd.series.clients():
        another.add(each)
    assert ids(another) == set(order[:other_limit])


def test_the_info_labels_follow_the_registry() -> None:
    fleet = DescribedFleet()
    fleet.descriptions["a"] = Description("pump", {"site": "north", "x": None})
    series = fleet.series(thing_attributes=("site", "x", "client-id"))
    series.add(client("a"))

    def info() -> list[dict[str, str]]:
        return [dict(labels) for name, labels in samples(series) if name == "iot_client_info"]

    empty = {"client_id": "a", "client_id_2": "", "site": "", "thing_type": "", "x": ""}
    assert info() == [empty | {"site": "north", "thing_type": "pump"}]
    fleet.descriptions["a"] = Description("valve", {"client-id": "7"})
    series.describe(client("a"))
    series.describe(client("without series"))
    assert info() == [empty | {"client_id_2": "7", "thing_type": "valve"}]


def test_named_groups_become_labels() -> None:
    series = DescribedFleet().series(client_id_pattern=r"^(?P<kind>[a-z]+)-(?P<site>\w+)?")
    for name in ("pump-north", "pump-", "7"):
        series.add(client(name))
    shown = [dict(labels) for name, labels in samples(series) if name == "iot_client_connected"]
    assert shown == [
        {"client_id": "pump-north", "kind": "pump", "site": "north"},
        {"client_id": "pump-", "kind": "pump"},
        {"client_id": "7"},
    ]


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)))
def test_any_client_id_survives_the_format(names: set[str]) -> None:
    # The parser of prometheus_client splits at more line ends than the format knows.
    names = {name for name in names if len(name.splitlines() or [name]) == 1 or "\n" in name}
    names = {n for n in names if not set(n) & set("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")}
    series = DescribedFleet().series()
    for name in names:
        series.add(client(name))
    shown = {
        dict(labels)["client_id"] for name, labels in samples(series) if name.endswith("connected")
    }
    assert shown == names
