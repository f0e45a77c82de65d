"""The API of a worker of Kafka: it answers for its own partitions, and says so."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api_fleet import START, ApiFleet, Get
from presenced.fleet import Partition
from presenced.web.api.openapi import document
from presenced.web.api.selection import Order
from presenced.web.api.worker import ranges

COUNT = 24
DEADLINE = 20.0


def validate(name: str, answer: object) -> None:
    """Check an answer against the OpenAPI document."""
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": document()["components"],
    }
    Draft202012Validator(schema).validate(answer)


def worker(*numbers: int, **options: object) -> list[ApiFleet]:
    """The partitions of a worker; the options are those of the first one."""
    first = ApiFleet(partition=Partition(numbers[0], COUNT), **options)
    return [first, *(beside(first, number) for number in numbers[1:])]


def beside(first: ApiFleet, number: int) -> ApiFleet:
    return ApiFleet(partition=Partition(number, COUNT), beside=first)


def ask(fleet: ApiFleet, use: Callable[[Get], Awaitable[None]]) -> None:
    async def run() -> None:
        async with fleet.served() as get:
            await use(get)

    asyncio.run(run())


async def names(get: Get, query: str = "") -> list[str]:
    """The client IDs of a list, all pages."""
    found: list[str] = []
    cursor = ""
    while True:
        status, page = await get(f"/clients?{query}{cursor}")
        assert status == 200
        validate("Clients", page)
        found += [client["client_id"] for client in page["clients"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_a_worker_answers_for_all_its_partitions_and_names_them() -> None:
    zero, three = worker(0, 3)
    zero.hear("connected", "a", at=0)
    three.hear("connected", "b", at=1)
    three.hear("disconnected", "b", at=2, disconnectReason="CONNECTION_LOST")
    zero.hear("connected", "c", at=3)
    three.presence.note_gap(START + 5)

    async def use(get: Get) -> None:
        owned = {"owned": [0, 3], "of": 24, "shown": True}
        _, page = await get("/clients")
        validate("Clients", page)
        assert [client["client_id"] for client in page["clients"]] == ["a", "b", "c"]
        assert page["partitions"] == owned
        assert await names(get, "sort=-since&limit=1") == ["c", "b", "a"]
        _, summary = await get("/summary")
        validate("Summary", summary)
        assert summary["partitions"] == owned
        assert summary["clients"] == {"online": 2, "pending": 1, "offline": 0, "unknown": 0}
        assert summary["transitions"] == {"online": 3, "offline": 0}
        assert summary["disconnects"] == {"CONNECTION_LOST": 1}
        assert summary["in_doubt"] == {
            "clients": {"online": 0, "pending": 1, "offline": 0},
            "since": "2023-11-14T22:13:25.000Z",
        }
        for name, partition in (("a", 0), ("b", 3)):
            _, story = await get(f"/clients/{name}")
            validate("Story", story)
            assert (story["partition"], story["verified"]) == (partition, name == "a")
            _, history = await get(f"/clients/{name}/history")
            assert len(history["entries"]) == (1 if name == "a" else 2)

    ask(zero, use)


def test_things_are_added_up_and_every_partition_has_all_groups_and_types() -> None:
    zero, one = worker(0, 1)
    zero.thing("x", 0, thingTypeName="pump")
    one.thing("y", 0, thingTypeName="valve")
    for part in (zero, one):
        for name in ("pump", "valve"):
            payload = {"thingTypeName": name, "timestamp": START * 1000}
            part.receive(f"thingType/{name}/created", payload, 1)

    async def use(get: Get) -> None:
        _, summary = await get("/summary")
        assert (summary["things"], summary["thing_types"]) == (2, 2)
        assert await names(get, "thing_type=valve") == ["y"]

    ask(zero, use)


def test_a_partition_that_is_revoked_takes_all_its_clients_with_it() -> None:
    zero, three = worker(0, 3)
    zero.hear("connected", "a", at=0)
    three.hear("connected", "b", at=1)

    async def use(get: Get) -> None:
        # So that there are indexes of all kinds.
        for query in ("", "sort=since", "state=online"):
            assert await names(get, query) == ["a", "b"]
        zero.api.remove(3)
        for query in ("", "sort=since", "state=online"):
            assert await names(get, query) == ["a"]
        _, summary = await get("/summary")
        assert summary["clients"]["online"] == 1
        assert summary["partitions"] == {"owned": [0], "of": 24, "shown": True}
        for path in ("/clients/b", "/clients/b/history"):
            status, problem = await get(path)
            validate("Problem", problem)
            assert (status, problem["value"]) == (404, "b")
            assert "which has partition 0 of 24; ask the other workers too" in problem["detail"]
        three.hear("disconnected", "b", at=5)
        assert await names(get) == ["a"]
        zero.api.remove(0)
        assert await names(get) == []
        _, problem = await get("/clients/a")
        assert "no partition at present" in problem["detail"]
        _, summary = await get("/summary")
        validate("Summary", summary)
        assert summary["partitions"] == {"owned": [], "of": 24, "shown": True}
        assert summary["clients"] == dict.fromkeys(("online", "pending", "offline", "unknown"), 0)

    ask(zero, use)


def test_a_partition_that_comes_back_has_no_history_from_before() -> None:
    zero, three = worker(0, 3)
    three.hear("connected", "b", at=1)

    async def use(get: Get) -> None:
        zero.api.remove(3)
        again = beside(zero, 3)
        again.hear("connected", "b", 2, at=10)
        assert await names(get) == ["b"]
        _, history = await get("/clients/b/history")
        assert [entry["version"] for entry in history["entries"]] == [2]
        zero.hear("connected", "a", at=11)
        assert await names(get, "sort=since") == ["b", "a"]

    ask(zero, use)


def test_histories_of_all_partitions_share_their_limit() -> None:
    zero, one = worker(0, 1, clients=4)
    for number in range(8):
        for part in (zero, one):
            part.hear("connected", f"{part.partition.number}-{number}", at=number)

    async def remembered(get: Get, part: int) -> int:
        histories = [await get(f"/clients/{part}-{number}/history") for number in range(8)]
        return sum(bool(history["entries"]) for _, history in histories)

    async def use(get: Get) -> None:
        assert [await remembered(get, part) for part in (0, 1)] == [2, 2]
        zero.api.remove(1)
        for number in range(8):
            zero.hear("disconnected", f"0-{number}", at=10)
        assert await remembered(get, 0) == 4
        beside(zero, 1)
        for number in range(8):
            zero.hear("connected", f"0-{number}", 2, at=20)
        assert await remembered(get, 0) == 2

    ask(zero, use)


@pytest.mark.parametrize(
    ("client_id", "words"),
    [
        ("in-3", "first event that names it. Its events are in partition 3, which this worker has"),
        (
            "in-7",
            "this worker has partitions 0-3, 5 of 24, and the events of this client are in",
        ),
        (
            "in-7",
            'in partition 7; ask the worker on which presenced_partition_owned{partition="7"} is 1',
        ),
    ],
)
def test_a_client_that_is_not_known_has_a_place_where_it_may_be(client_id: str, words: str) -> None:
    fleet, *_ = worker(5, 3, 2, 1, 0, partition_of=lambda name: int(name.partition("-")[2]))

    async def use(get: Get) -> None:
        status, problem = await get(f"/clients/{client_id}")
        validate("Problem", problem)
        assert status == 404
        assert words in problem["detail"]

    ask(fleet, use)


def test_partitions_in_a_row_are_a_range() -> None:
    assert ranges([]) == ""
    assert ranges([4]) == "4"
    assert ranges([0, 1, 3, 4, 5, 7, 8]) == "0, 1, 3-5, 7, 8"


def test_nothing_is_shown_once_the_lease_is_over() -> None:
    zero, three = worker(0, 3)
    zero.hear("connected", "a", at=0)
    three.hear("connected", "b", at=0)

    async def use(get: Get) -> None:
        assert await names(get) == ["a", "b"]
        zero.holding = False
        for path in ("/clients", "/clients/a", "/clients/a/history", "/clients/x", "/events"):
            status, problem = await get(path)
            validate("Problem", problem)
            assert status == 503
            assert "Kafka has not confirmed for kafka.lease" in problem["detail"]
        status, summary = await get("/summary")
        validate("Summary", summary)
        assert status == 200
        assert summary["partitions"] == {"owned": [], "of": 24, "shown": False}
        assert sum(summary["clients"].values()) == sum(summary["transitions"].values()) == 0
        assert (await get("/openapi.json"))[0] == 200
        zero.holding = True
        assert await names(get) == ["a", "b"]

    ask(zero, use)


class Steps:
    """The steps of a list that is made of two partitions: it acts after one of them.

    The first two are before and after the list of the first partition is made, then of the second.
    """

    def __init__(self, step: int) -> None:
        self.act: Callable[[], None] = lambda: None
        self._left = step

    def clock(self) -> float:
        """The clock of the indexes, which is read at each step."""
        self._left -= 1
        if not self._left:
            asyncio.get_running_loop().call_soon(self.act)
        return 0.0


def listing(step: int) -> tuple[Steps, list[ApiFleet]]:
    steps = Steps(step)
    index = {"step": 3, "clock": steps.clock, "settle_interval": 1e6}
    zero, one = worker(0, 1, seconds=0.0, index=index)
    for number in range(10):
        zero.hear("connected", f"a{number}", at=0)
        one.hear("connected", f"b{number}", at=0)
    return steps, [zero, one]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_page_that_was_begun_before_the_lease_was_over_is_not_shown(step: int) -> None:
    steps, (zero, _) = listing(step)
    steps.act = lambda: setattr(zero, "holding", False)

    async def use(get: Get) -> None:
        status, problem = await get("/clients?sort=since")
        assert (status, problem["title"]) == (503, "Service Unavailable")

    ask(zero, use)


@pytest.mark.parametrize(
    ("step", "revoked", "shown"),
    [(1, 1, "a"), (2, 1, "a"), (3, 1, ""), (4, 1, "a"), (1, 0, ""), (2, 0, "b"), (4, 0, "b")],
)
def test_a_list_whose_partition_moves_meanwhile_is_refused_or_without_it(
    step: int, revoked: int, shown: str
) -> None:
    steps, (zero, _) = listing(step)
    steps.act = lambda: zero.api.remove(revoked)

    async def use(get: Get) -> None:
        status, answer = await get("/clients?sort=since")
        if shown:
            assert {client["client_id"][0] for client in answer["clients"]} == {shown}
        else:
            validate("Problem", answer)
            assert status == 503
            assert "a partition has moved to another worker" in answer["detail"]
        stays = "ab"[1 - revoked]
        assert await names(get, "sort=since") == [f"{stays}{number}" for number in range(10)]

    ask(zero, use)


KEYS = st.lists(st.integers(0, 60), unique=True, max_size=40)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(KEYS, min_size=1, max_size=5),
    st.sampled_from(Order),
    st.integers(1, 30),
    st.sampled_from(["", "&state=online", "&prefix=a", "&contains=A"]),
)
def test_pages_of_several_parts_are_one_sorted_list(
    parts: list[list[int]], order: Order, limit: int, query: str
) -> None:
    """Also where one partition has most of the clients, or two times are the same."""
    fleets = worker(*range(len(parts)), index={"step": 3, "max_walked": 2})
    expected: dict[str, float] = {}
    for number, keys in enumerate(parts):
        for key in keys:
            # All on one clock, but not in the order of their IDs.
            name, at = f"{'ab'[key % 2]}{key:02}-{number}", key % 7
            fleets[number].hear("connected", name, at=at)
            if name[0] == "a" or not ("prefix" in query or "contains" in query):
                expected[name] = at

    async def use(get: Get) -> None:
        by_id = sorted(expected)
        wanted = sorted(by_id, key=expected.__getitem__) if order.by_since else by_id
        found = await names(get, f"sort={order}&limit={limit}{query}")
        assert found == (wanted[::-1] if order.descending else wanted)

    ask(fleets[0], use)


@pytest.mark.parametrize("order", Order)
def test_a_partition_that_has_most_of_a_page_is_asked_again(order: Order) -> None:
    most, *others = worker(0, 1, 2)
    expected = []
    for number in range(90):
        # Only the first and the last quarter of the list have clients of the other partitions.
        is_other = number % 5 == 0 and not 22 < number < 66
        part = others[number % 2] if is_other else most
        part.hear("connected", f"{number:02}", at=number)
        expected.append(f"{number:02}")

    async def use(get: Get) -> None:
        for limit in (45, 60, 90, 91):
            found = await names(get, f"sort={order}&limit={limit}")
            assert found == (expected[::-1] if order.descending else expected)

    ask(most, use)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "hear"]), st.integers(1, 4)), max_size=25),
    st.sampled_from([Order.CLIENT_ID, Order.SINCE_DESCENDING]),
)
def test_partitions_that_stay_are_listed_once_while_others_come_and_go(
    steps: list[tuple[str, int]], order: Order
) -> None:
    (zero,) = worker(0)
    for number in range(30):
        zero.hear("connected", f"{number:02}", at=number)

    async def use(get: Get) -> None:
        owned: dict[int, ApiFleet] = {}
        found: list[str] = []
        cursor = ""
        moves = iter(steps)
        at = 100.0
        while True:
            _, page = await get(f"/clients?limit=4&sort={order}{cursor}")
            assert page["partitions"]["owned"] == [0, *sorted(owned)]
            known = {client["client_id"] for client in page["clients"]}
            gone = [name for name in known if "-" in name and int(name[-1]) not in owned]
            assert gone == []
            found += [client["client_id"] for client in page["clients"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
            what, number = next(moves, ("remove", 1))
            at += 1
            if what == "add":
                owned[number] = beside(zero, number)
            elif what == "remove":
                owned.pop(number, None)
                zero.api.remove(number)
            elif number in owned:
                owned[number].hear("connected", f"{number * 7:02}-{number}", 1, at=at)
        stayed = [name for name in found if "-" not in name]
        wanted = [f"{number:02}" for number in range(30)]
        assert stayed == (wanted[::-1] if order.descending else wanted)

    ask(zero, use)


async def events(fleet: ApiFleet, act: Callable[[], None], last: str) -> list[tuple[str, object]]:
    """The events of a stream from now on, through the one about the client `last`."""
    async with fleet.listening() as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/api/v1/events"
        async with asyncio.timeout(DEADLINE), session.get(url) as answer:
            assert answer.status == 200
            await answer.content.readuntil(b": listening\n\n")
            act()
            found: list[tuple[str, object]] = []
            while True:
                block = (await answer.content.readuntil(b"\n\n")).decode()
                fields = dict(line.split(": ", 1) for line in block.strip().split("\n"))
                data = json.loads(fields["data"])
                found.append((fields["event"], data.get("client_id", data.get("count"))))
                if found[-1] == ("transition", last):
                    return found


def test_the_stream_has_all_partitions_and_nothing_of_one_that_is_revoked() -> None:
    async def run() -> None:
        zero, three = worker(0, 3)

        def act() -> None:
            zero.hear("connected", "a", at=0)
            three.hear("connected", "b", at=0)
            zero.api.remove(3)
            three.hear("connected", "c", at=1)
            zero.hear("connected", "z", at=2)

        found = await events(zero, act, "z")
        assert [name for _, name in found] == ["a", "b", "z"]

    asyncio.run(run())


def test_transitions_after_the_lease_are_lost_and_counted() -> None:
    async def run() -> None:
        zero, three = worker(0, 3)

        def act() -> None:
            zero.holding = False
            zero.hear("connected", "a", at=0)
            three.hear("connected", "b", at=0)
            zero.holding = True
            zero.hear("connected", "z", at=2)

        assert await events(zero, act, "z") == [("lost", 2), ("transition", "z")]

    asyncio.run(run())
