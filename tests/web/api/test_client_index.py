"""Pages of clients: all of them once, whatever happens between two pages."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_fleet import ApiFleet
from presenced.presence import Client, State
from presenced.system.loop import CooperativeScheduler
from presenced.web.api import roster as roster_module
from presenced.web.api import walk as walk_module
from presenced.web.api.client_index import BusyError, ClientIndex
from presenced.web.api.page_scan import Order, Request, Selection, selector

PATTERN = re.compile("(?P<site>[a-z])(?P<number>[0-9]*)")


@pytest.fixture(autouse=True, scope="module")
def small_steps():
    """So that few clients take many steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk_module, "_STEP", 3)
        patch.setattr(roster_module, "_STEP", 3)
        patch.setattr(roster_module, "_EASY", 6)
        yield


def make(**metrics):
    fleet = ApiFleet(metrics={"client_id_pattern": PATTERN.pattern, **metrics})
    return fleet, fleet.api._roster


def expected(fleet: ApiFleet, selection: Selection, order: Order) -> list[str]:
    """What a look at every client says."""
    selects = selector(selection, fleet.pipeline.fleet, PATTERN)
    chosen = [client for client in fleet.presence.clients.values() if selects(client)]
    return [c.client_id for c in sorted(chosen, key=order.key, reverse=order.descending)]


async def pages(roster: ClientIndex, selection: Selection, order: Order, most: int, between=None):
    """The client IDs of all pages, one after the other."""
    found: list[str] = []
    after = None
    while True:
        page = await roster.page(Request(selection, order, most, after))
        assert len(page.clients) <= most
        found += [client.client_id for client in page.clients]
        if page.next is None:
            return found
        assert len(page.clients) == most
        after = page.next
        if between is not None:
            between()


NAMES = st.sampled_from([f"{site}{number}" for site in "abc" for number in ("", *range(4))])
KINDS = [*["connected", "disconnected"] * 3, "wait", "forget", "thing", "join", "leave"]
STEPS = st.tuples(st.sampled_from(KINDS), NAMES)
STATES = st.sets(st.sampled_from(State), min_size=1, max_size=2).map(frozenset)
TYPES = st.sampled_from(["pump", ""])
GROUPS = st.sampled_from(["inner", "outer", ""])
CLASSES = st.sampled_from([(("site", "a"),), (("number", ""),)])
PREFIXES = st.sampled_from(["a", "b1", "\U0010ffff"])
# One filter mostly: with many there is hardly ever anybody left.
SELECTIONS = st.one_of(
    st.just(Selection()),
    st.builds(Selection, states=STATES),
    st.builds(Selection, thing_type=TYPES),
    st.builds(Selection, thing_group=GROUPS),
    st.builds(Selection, classes=CLASSES),
    st.builds(Selection, prefix=PREFIXES),
    st.builds(Selection, STATES, TYPES, GROUPS, CLASSES, PREFIXES),
)


class Steps:
    """Takes steps, each at a time of its own."""

    def __init__(self, fleet: ApiFleet) -> None:
        self.fleet = fleet
        self.at = 0.0
        self.version = 0
        fleet.nest("inner", "outer", 0.0)

    def take(self, kind: str, name: str) -> None:
        self.at += 1
        self.version += 1
        if kind in ("connected", "disconnected"):
            # A version of its own for each, so that each is the later one.
            self.fleet.hear(kind, name, self.version, at=self.at)
        elif kind == "wait":
            self.at += 10
            self.fleet.wait(self.at)
        elif kind == "forget":
            self.fleet.presence.forget(name, "requested")
        elif kind == "thing":
            self.fleet.thing(name, self.at, self.version, thingTypeName="pump")
        else:
            self.fleet.join(name, "inner", self.at, "added" if kind == "join" else "removed")


@settings(deadline=None, max_examples=300)
@given(
    st.lists(STEPS, min_size=10, max_size=60),
    SELECTIONS,
    st.sampled_from(Order),
    st.integers(1, 9),
    st.lists(STEPS, min_size=5, max_size=20),
)
def test_pages_are_what_a_look_at_every_client_says(steps, selection, order, most, later):
    async def run() -> None:
        fleet, roster = make()
        driver = Steps(fleet)
        for step in steps:
            driver.take(*step)
        assert await pages(roster, selection, order, most) == expected(fleet, selection, order)
        # Once more, where there may be a view that has to follow.
        for step in later:
            driver.take(*step)
        assert await pages(roster, selection, order, most) == expected(fleet, selection, order)
        roster.close()

    asyncio.run(run())


@settings(deadline=None, max_examples=300)
@given(
    st.lists(STEPS, min_size=10, max_size=60),
    SELECTIONS,
    st.sampled_from(Order),
    st.integers(1, 5),
    st.lists(st.lists(STEPS, min_size=1, max_size=5), max_size=20),
)
def test_whoever_stays_is_shown_once_while_others_change(steps, selection, order, most, changes):
    async def run() -> None:
        fleet, roster = make()
        driver = Steps(fleet)
        for step in steps:
            driver.take(*step)
        selects = selector(selection, fleet.pipeline.fleet, PATTERN)
        steady = {
            client_id: order.key(client)
            for client_id, client in fleet.presence.clients.items()
            if selects(client)
        }
        moves = iter(changes)

        def change() -> None:
            for step in next(moves, ()):
                driver.take(*step)
                for client_id, key in list(steady.items()):
                    client = fleet.presence.clients.get(client_id)
                    if client is None or not selects(client) or order.key(client) != key:
                        del steady[client_id]

        found = await pages(roster, selection, order, most, between=change)
        assert [name for name in steady if found.count(name) != 1] == []
        if not order.by_since:
            assert len(found) == len(set(found))
            assert found == sorted(found, reverse=order.descending)
        roster.close()

    asyncio.run(run())


def test_clients_that_were_restored_are_there():
    async def run() -> None:
        fleet, roster = make()
        fleet.hear("connected", "b", at=0)
        assert await pages(roster, Selection(), Order.CLIENT_ID, 10) == ["b"]
        fleet.presence.restore(Client("a"), None)
        fleet.api.restored()
        assert await pages(roster, Selection(), Order.CLIENT_ID, 10) == ["a", "b"]

    asyncio.run(run())


def test_a_change_while_a_view_is_made_is_in_it():
    async def run() -> None:
        fleet, roster = make()
        names = [f"a{number:02}" for number in range(40)]
        for number, name in enumerate(names):
            fleet.hear("connected", name, at=number)
        roster._pace._seconds = 0.0
        pending = Selection(frozenset({State.PENDING}))
        asked = asyncio.create_task(roster.page(Request(pending, Order.SINCE, 50)))
        while not roster._builds:
            await asyncio.sleep(0)
        changed = 0
        # From the last to the first, so that some are behind the walk and some before it.
        while roster._builds:
            fleet.hear("disconnected", names.pop(), at=40.0 + changed / 100)
            changed += 1
            await roster._settle()  # as another's page, or upkeep, would
        assert 5 < changed < 40
        page = await asked
        assert len(page.clients) == changed
        roster.close()

    asyncio.run(run())


def test_a_view_that_nobody_asks_for_goes(monkeypatch):
    monkeypatch.setattr(roster_module, "_SETTLE_EVERY", 0.001)

    async def run() -> None:
        fleet, roster = make()
        now = 0.0
        roster._clock = lambda: now
        fleet.hear("connected", "a", at=0)
        request = Request(Selection(), Order.SINCE, 5)
        await roster.page(request)
        assert roster.views == 1
        now = 299.0
        await asyncio.sleep(0.01)
        assert roster.views == 1
        now = 301.0
        while roster._upkeep is not None:
            await asyncio.sleep(0.001)
        assert roster.views == 0
        assert roster._marks is None, "changes cost nothing any more"
        page = await roster.page(request)
        assert [client.client_id for client in page.clients] == ["a"]
        roster.close()

    asyncio.run(run())


def test_a_view_with_many_keys_that_are_not_true_any_more_is_made_anew(monkeypatch):
    monkeypatch.setattr(roster_module, "_SETTLE_EVERY", 0.001)
    monkeypatch.setattr("presenced.web.api.page_scan._SOME", 10)

    async def run() -> None:
        fleet, roster = make()
        fleet.hear("connected", "a", at=0)
        request = Request(Selection(), Order.SINCE, 5)
        await roster.page(request)
        (view,) = roster._views.values()
        for number in range(1, 40):
            kind = "disconnected" if number % 2 else "connected"
            fleet.hear(kind, "a", number, at=number * 10)
            await roster._settle()
        while view in roster._views.values():
            await asyncio.sleep(0.001)
        page = await roster.page(request)
        assert [client.client_id for client in page.clients] == ["a"]
        roster.close()

    asyncio.run(run())


def test_the_least_used_view_makes_room():
    async def run() -> None:
        fleet, roster = make()
        fleet.hear("connected", "a", at=0)
        requests = [Request(Selection(prefix=f"a{number}"), Order.SINCE, 5) for number in range(12)]
        for request in requests:
            await roster.page(request)
        assert roster.views == 8
        assert (requests[-1].selection, True) in roster._views
        assert (requests[0].selection, True) not in roster._views
        roster.close()

    asyncio.run(run())


def test_too_many_views_at_once_are_refused():
    async def run() -> None:
        _, roster = make()
        asked = [
            roster.page(Request(Selection(prefix=f"a{number}"), Order.SINCE, 5))
            for number in range(12)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, BusyError) for answer in answers) == 4
        roster.close()

    asyncio.run(run())


def test_those_who_ask_at_the_same_time_share_a_view():
    async def run() -> None:
        fleet, roster = make()
        for number in range(20):
            fleet.hear("connected", f"a{number}", at=number)
        request = Request(Selection(), Order.SINCE_DESCENDING, 20)
        answers = await asyncio.gather(*(roster.page(request) for _ in range(5)))
        assert [len(page.clients) for page in answers] == [20] * 5
        assert roster.views == 1
        roster.close()

    asyncio.run(run())


def test_nothing_is_left_of_those_who_are_forgotten():
    async def run() -> None:
        fleet, roster = make()
        assert await pages(roster, Selection(), Order.CLIENT_ID, 10) == []
        for number in range(20):
            fleet.hear("connected", f"a{number}", at=number)
            fleet.presence.forget(f"a{number}", "requested")
        assert roster._all is not None
        assert roster._all.next(None, 50) == []

    asyncio.run(run())


def test_a_list_that_is_asked_for_before_a_reload_is_none_of_before():
    """Whatever the loop was at when other classes began to count."""

    async def run(turns: int) -> None:
        fleet, _ = make()
        for number in range(20):
            fleet.hear("connected", f"a{number:02}", at=number)
        roster = ClientIndex(
            fleet.pipeline.fleet, CooperativeScheduler(0.0), PATTERN
        )  # a slice for each step
        second_letter = Selection(classes=(("site", "1"),))
        for order in (Order.CLIENT_ID, Order.SINCE):
            asked = asyncio.create_task(roster.page(Request(second_letter, order, 5)))
            for _ in range(turns):
                await asyncio.sleep(0)
            roster.use_pattern(re.compile("(?P<number>.)(?P<site>.)"))
            await asked
            assert len(await pages(roster, second_letter, order, 5)) == 10
            roster.use_pattern(PATTERN)
        roster.close()

    for turns in range(40):
        asyncio.run(run(turns))


def test_other_classes_make_other_views():
    async def run() -> None:
        fleet, roster = make()
        fleet.hear("connected", "a1", at=0)
        of_a = Selection(classes=(("site", "a"),))
        assert await pages(roster, of_a, Order.SINCE, 5) == ["a1"]
        roster.use_pattern(re.compile("(?P<number>.)"))
        assert await pages(roster, of_a, Order.SINCE, 5) == []
        roster.close()

    asyncio.run(run())
