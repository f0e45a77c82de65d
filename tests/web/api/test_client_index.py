"""Pages of clients: all of them once, whatever happens between two pages."""

import asyncio
import gc
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_fleet import START, ApiFleet
from presenced.presence import State
from presenced.system.loop import CooperativeScheduler
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import Order, PageRequest, Selection
from presenced.web.api.sorted_index import SortedIndex
from presenced.web.api.sorted_keys import SortedKeys

PATTERN = re.compile("(?P<site>[a-z])(?P<number>[0-9]*)")


SMALL_STEPS = {"copied": 4, "step": 3, "max_scanned": 6, "max_walked": 2}
"""So that few clients take many steps, and pages are cut."""


def make(seconds: float = 0.002, **index):
    fleet = ApiFleet(
        metrics={"client_id_pattern": PATTERN.pattern}, index=SMALL_STEPS | index, seconds=seconds
    )
    return fleet, fleet.index


def live_indexes() -> set[int]:
    """The sorted indexes that are in memory."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if isinstance(each, SortedIndex)}


def expected(fleet: ApiFleet, selection: Selection, order: Order) -> list[str]:
    """What a scan of all clients says."""
    selects = selection.predicate(fleet.pipeline.fleet, PATTERN)
    chosen = [client for client in fleet.presence.clients.values() if selects(client)]
    return [c.client_id for c in sorted(chosen, key=order.key, reverse=order.descending)]


async def pages(index: ClientIndex, selection: Selection, order: Order, limit: int, between=None):
    """The client IDs of all pages, one after the other."""
    found: list[str] = []
    after = None
    while True:
        page = await index.page(PageRequest(selection, order, limit, after))
        assert len(page.clients) <= limit
        found += [client.client_id for client in page.clients]
        if page.next is None:
            return found
        if page.cut:
            assert selection.contains or selection.offline_before is not None
            assert page.next != after
        else:
            assert len(page.clients) == limit
        after = page.next
        if between is not None:
            between()


NAMES = st.sampled_from([f"{site}{number}" for site in "abc" for number in ("", *range(4))])
KINDS = [
    *["connected", "disconnected"] * 3,
    *["lost", "wait", "forget", "thing", "join", "leave", "gap"],
]
STEPS = st.tuples(st.sampled_from(KINDS), NAMES)
STATES = st.sets(st.sampled_from(State), min_size=1, max_size=2).map(frozenset)
TYPES = st.sampled_from(["pump", ""])
GROUPS = st.sampled_from(["inner", "outer", ""])
CLASSES = st.sampled_from([(("site", "a"),), (("number", ""),)])
PREFIXES = st.sampled_from(["a", "b1", "\U0010ffff"])
REASONS = st.sampled_from(["CONNECTION_LOST", "other", ""]).map(lambda reason: frozenset({reason}))
TEXTS = st.sampled_from(["a", "b1", "3", "x"])
TIMES = st.integers(0, 200).map(lambda seconds: START + seconds)
FILTERS = {
    "states": STATES,
    "thing": NAMES,
    "thing_type": TYPES,
    "thing_group": GROUPS,
    "classes": CLASSES,
    "prefix": PREFIXES,
    "reasons": REASONS,
    "in_doubt": st.booleans(),
    "contains": TEXTS,
    "offline_before": TIMES,
}
# One filter mostly: several rarely leave any client.
SELECTIONS = st.one_of(
    st.just(Selection()),
    *(st.builds(Selection, **{name: values}) for name, values in FILTERS.items()),
    st.builds(Selection, contains=TEXTS, offline_before=TIMES),
    st.builds(Selection, contains=TEXTS, in_doubt=st.just(True)),
    st.fixed_dictionaries({}, optional=FILTERS).map(lambda filters: Selection(**filters)),
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
        elif kind == "lost":
            reason = {"disconnectReason": "CONNECTION_LOST"}
            self.fleet.hear("disconnected", name, self.version, at=self.at, **reason)
        elif kind == "gap":
            self.fleet.presence.note_gap(START + self.at)
        elif kind == "wait":
            self.at += 10
            self.fleet.wait(self.at)
        elif kind == "forget":
            self.fleet.pipeline.forget([name], "requested")
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
def test_pages_are_what_a_scan_of_all_clients_says(steps, selection, order, limit, later):
    async def run() -> None:
        fleet, index = make()
        driver = Steps(fleet)
        for step in steps:
            driver.take(*step)
        assert await pages(index, selection, order, limit) == expected(fleet, selection, order)
        # Once more, where there may be an index to which changes are applied.
        for step in later:
            driver.take(*step)
        assert await pages(index, selection, order, limit) == expected(fleet, selection, order)
        index.close()

    asyncio.run(run())


@settings(deadline=None, max_examples=300)
@given(
    st.lists(STEPS, min_size=10, max_size=60),
    SELECTIONS,
    st.sampled_from(Order),
    st.integers(1, 5),
    st.lists(st.lists(STEPS, min_size=1, max_size=5), max_size=20),
)
def test_an_unchanged_client_is_on_one_page_while_others_change(
    steps, selection, order, limit, changes
):
    async def run() -> None:
        fleet, index = make()
        driver = Steps(fleet)
        for step in steps:
            driver.take(*step)
        selects = selection.predicate(fleet.pipeline.fleet, PATTERN)
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

        found = await pages(index, selection, order, limit, between=change)
        assert [name for name in steady if found.count(name) != 1] == []
        if not order.by_since:
            assert len(found) == len(set(found))
            assert found == sorted(found, reverse=order.descending)
        index.close()

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from(["connected", "forget"]), st.integers(0, 40))))
@settings(max_examples=50)
def test_the_first_page_has_all_clients_whoever_comes_and_goes_meanwhile(changes):
    async def run() -> None:
        fleet, index = make(seconds=0.0)
        for number in range(30):
            fleet.hear("connected", f"a{number:02}", at=number)
        asked = asyncio.create_task(index.page(PageRequest(Selection(), Order.CLIENT_ID, 50)))
        for kind, number in changes:
            await asyncio.sleep(0)
            if kind == "connected":
                fleet.hear("connected", f"a{number:02}", at=50)
            else:
                fleet.pipeline.forget([f"a{number:02}"], "requested")
        changed = {f"a{number:02}" for _, number in changes}
        found = [client.client_id for client in (await asked).clients]
        assert found == sorted(set(found))
        assert set(found) - changed == {f"a{number:02}" for number in range(30)} - changed
        index.close()

    asyncio.run(run())


def test_a_page_that_is_being_read_is_complete_when_its_index_is_dropped():
    async def run() -> None:
        fleet, index = make(seconds=0.0, settle_interval=0.0, max_walked=100)
        for number in range(60):
            fleet.hear("connected", f"a{number:02}", at=number)
        request = PageRequest(Selection(), Order.SINCE, 60)
        await index.page(request)
        asked = asyncio.create_task(index.page(request))
        await asyncio.sleep(0)
        index.use_pattern(None)
        page = await asked
        assert len(page.clients) == 60
        index.close()

    asyncio.run(run())


def test_a_change_while_an_index_is_built_is_in_it():
    async def run() -> None:
        fleet, index = make(seconds=0.0)
        names = [f"a{number:02}" for number in range(40)]
        for number, name in enumerate(names):
            fleet.hear("connected", name, at=number)
        other = PageRequest(Selection(prefix="x"), Order.SINCE, 5)
        await index.page(other)
        request = PageRequest(Selection(frozenset({State.PENDING})), Order.SINCE, 50)
        asked = asyncio.create_task(index.page(request))
        changed = 0
        # From the last to the first, so that some are before the position of the build, some after.
        while not asked.done():
            fleet.hear("disconnected", names.pop(), at=40.0 + changed / 100)
            changed += 1
            await index.page(other)  # which applies all changes to all indexes
        assert 5 < changed < 40
        page = await index.page(request)
        assert len(page.clients) == changed
        index.close()

    asyncio.run(run())


def test_an_unused_index_is_discarded():
    now = 0.0

    async def run() -> None:
        nonlocal now
        fleet, index = make(settle_interval=0.001, clock=lambda: now)
        fleet.hear("connected", "a", at=0)
        request = PageRequest(Selection(), Order.SINCE, 5)
        before = live_indexes()
        await index.page(request)
        assert len(live_indexes() - before) == 2  # with that of all client IDs
        now = 299.0
        await asyncio.sleep(0.01)
        assert len(live_indexes() - before) == 2
        now = 301.0
        while len(live_indexes() - before) == 2:
            await asyncio.sleep(0.001)
        page = await index.page(request)
        assert [client.client_id for client in page.clients] == ["a"]
        index.close()

    asyncio.run(run())


def test_an_index_has_one_key_of_each_client_however_often_it_changes():
    async def run() -> None:
        fleet, index = make()
        names = [f"a{number}" for number in range(20)]
        for name in names:
            fleet.hear("connected", name, at=0)
        selection = Selection(states=frozenset({State.ONLINE}))
        request = PageRequest(selection, Order.SINCE, 5)
        before = live_indexes()
        await index.page(request)
        gc.collect()
        made = [
            each
            for each in gc.get_objects()
            if isinstance(each, SortedIndex) and id(each) not in before
        ]
        for number in range(1, 40):
            kind = "disconnected" if number % 2 else "connected"
            for name in names:
                fleet.hear(kind, name, number, at=number * 10)
            await index.page(request)
        assert await pages(index, selection, Order.SINCE, 5) == []
        assert sorted(len(each.keys) for each in made) == [0, 20]  # and all client IDs
        fleet.pipeline.forget(names, "requested")
        await index.page(request)
        assert [len(each.keys) for each in made] == [0, 0]
        index.close()

    asyncio.run(run())


@pytest.mark.parametrize("order", Order)
def test_a_text_needs_no_index_and_leaves_out_few_clients_at_a_time(order: Order) -> None:
    async def run() -> None:
        fleet, index = make(max_walked=10)
        for number in range(1000):
            fleet.hear("connected", f"Device-{number:03}", at=number)
        await index.page(PageRequest(Selection(), order, 5))
        before = live_indexes()
        found: list[str] = []
        requests, after = 0, None
        while requests == 0 or after is not None:
            request = PageRequest(Selection(contains="ce-9"), order, 1000, after)
            page = await index.page(request)
            found += [client.client_id for client in page.clients]
            requests, after = requests + 1, page.next
        expected = [f"Device-{number}" for number in range(900, 1000)]
        assert found == (expected[::-1] if order.descending else expected)
        # A hundred of the others for each page, and a few more in the last step.
        assert 8 <= requests <= 10
        for text in ("d", "de", "dev", "none"):
            await index.page(PageRequest(Selection(contains=text), order, 5))
        assert live_indexes() == before
        index.close()

    asyncio.run(run())


@pytest.mark.parametrize("order", [Order.SINCE, Order.SINCE_DESCENDING])
def test_those_that_are_offline_for_long_are_a_part_of_the_list_of_all_offline(order: Order):
    """Without a client left out, and while time passes without an index made anew."""

    async def run() -> None:
        fleet, index = make()
        for number in range(60):
            fleet.hear("connected", f"a{number:02}", at=number)
            fleet.hear("disconnected", f"a{number:02}", at=number + 0.5)
        fleet.wait(100)
        offline = Selection(frozenset({State.OFFLINE}))
        await index.page(PageRequest(offline, order, 5))
        before = live_indexes()
        for count in (0, 1, 30, 60):
            selection = Selection(offline_before=START + count)
            page = await index.page(PageRequest(selection, order, 60))
            found = [client.client_id for client in page.clients]
            expected = [f"a{number:02}" for number in range(count)]
            assert found == (expected[::-1] if order.descending else expected)
            assert page.next is None
        assert live_indexes() == before
        index.close()

    asyncio.run(run())


def test_a_gap_puts_all_clients_in_doubt_at_once():
    async def run() -> None:
        fleet, index = make(settle_interval=0.001)
        for number in range(10):
            fleet.hear("connected", f"a{number}", at=number)
        in_doubt = Selection(in_doubt=True)
        assert await pages(index, in_doubt, Order.SINCE, 4) == []
        before = live_indexes()
        fleet.presence.note_gap(START + 20)
        assert len(await pages(index, in_doubt, Order.SINCE, 4)) == 10
        fleet.hear("connected", "a3", 2, at=30)
        assert len(await pages(index, in_doubt, Order.SINCE, 4)) == 9
        assert await pages(index, Selection(in_doubt=False), Order.SINCE, 4) == ["a3"]
        # The index from before the gap is of no use any more.
        while before <= live_indexes():
            await asyncio.sleep(0.001)
        index.close()

    asyncio.run(run())


def test_the_least_recently_used_index_makes_room():
    async def run() -> None:
        fleet, index = make(settle_interval=0.001)
        fleet.hear("connected", "a", at=0)
        requests = [
            PageRequest(Selection(prefix=f"a{number}"), Order.SINCE, 5) for number in range(12)
        ]
        before = live_indexes()
        for request in requests:
            await index.page(request)
        while len(live_indexes() - before) > 1 + 8:  # with that of all client IDs
            await asyncio.sleep(0.001)
        kept = live_indexes()
        await index.page(requests[-1])
        assert live_indexes() == kept
        await index.page(requests[0])
        assert live_indexes() != kept
        index.close()

    asyncio.run(run())


def test_too_many_new_indexes_at_once_are_refused():
    async def run() -> None:
        _, index = make()
        asked = [
            index.page(PageRequest(Selection(prefix=f"a{number}"), Order.SINCE, 5))
            for number in range(12)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, ProblemError) for answer in answers) == 4
        index.close()

    asyncio.run(run())


def test_simultaneous_requests_share_an_index():
    async def run() -> None:
        fleet, index = make()
        for number in range(20):
            fleet.hear("connected", f"a{number}", at=number)
        request = PageRequest(Selection(), Order.SINCE_DESCENDING, 20)
        before = live_indexes()
        answers = await asyncio.gather(*(index.page(request) for _ in range(5)))
        assert [len(page.clients) for page in answers] == [20] * 5
        assert len(live_indexes() - before) == 2  # with that of all client IDs
        index.close()

    asyncio.run(run())


def test_nothing_is_left_of_forgotten_clients():
    async def run() -> None:
        fleet, index = make()
        assert await pages(index, Selection(), Order.CLIENT_ID, 10) == []
        gc.collect()
        before = sum(len(each) for each in gc.get_objects() if isinstance(each, SortedKeys))
        for number in range(20):
            fleet.hear("connected", f"a{number}", at=number)
            fleet.pipeline.forget([f"a{number}"], "requested")
        after = sum(len(each) for each in gc.get_objects() if isinstance(each, SortedKeys))
        assert after == before

    asyncio.run(run())


def test_a_list_requested_before_a_reload_shows_the_new_classes():
    """At whatever step the pattern changes."""

    async def run(turns: int) -> None:
        fleet, _ = make()
        for number in range(20):
            fleet.hear("connected", f"a{number:02}", at=number)
        # A slice of the event loop for each step.
        index = ClientIndex(fleet.pipeline.fleet, CooperativeScheduler(0.0), **SMALL_STEPS)
        index.use_pattern(PATTERN)
        second_letter = Selection(classes=(("site", "1"),))
        for order in (Order.CLIENT_ID, Order.SINCE):
            asked = asyncio.create_task(index.page(PageRequest(second_letter, order, 5)))
            for _ in range(turns):
                await asyncio.sleep(0)
            index.use_pattern(re.compile("(?P<number>.)(?P<site>.)"))
            await asked
            assert len(await pages(index, second_letter, order, 5)) == 10
            index.use_pattern(PATTERN)
        index.close()

    for turns in range(40):
        asyncio.run(run(turns))


def test_other_classes_make_other_indexes():
    async def run() -> None:
        fleet, index = make()
        fleet.hear("connected", "a1", at=0)
        of_a = Selection(classes=(("site", "a"),))
        assert await pages(index, of_a, Order.SINCE, 5) == ["a1"]
        index.use_pattern(re.compile("(?P<number>.)"))
        assert await pages(index, of_a, Order.SINCE, 5) == []
        index.close()

    asyncio.run(run())


def test_a_request_that_is_cancelled_loses_no_change() -> None:
    """As when its client disconnects while changes are applied to the indexes."""

    async def run() -> None:
        fleet, index = make(seconds=0.0, settle_interval=1e6)
        for number in range(30):
            fleet.hear("connected", f"a{number}", at=1.0)
        selection = Selection(states=frozenset({State.ONLINE}))
        request = PageRequest(selection, Order.SINCE, 100, None)
        assert len((await index.page(request)).clients) == 30
        for steps in range(1, 40):
            for number in range(30):
                client_id = f"b{steps}-{number}"
                fleet.hear("connected", client_id, at=1.0 + steps)
            cancelled = asyncio.create_task(index.page(request))
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            page = await index.page(PageRequest(selection, Order.SINCE, 2000, None))
            assert len(page.clients) == 30 + 30 * steps
        index.close()

    asyncio.run(run())


@pytest.mark.parametrize("order", [Order.CLIENT_ID, Order.SINCE])
def test_a_page_of_an_index_that_is_closed_is_refused(order: Order) -> None:
    """At whatever step it is closed."""

    async def run(turns: int) -> None:
        fleet, index = make(seconds=0.0)
        for number in range(60):
            fleet.hear("connected", f"a{number:02}", at=number)
        asked = asyncio.create_task(index.page(PageRequest(Selection(), order, 5)))
        for _ in range(turns):
            await asyncio.sleep(0)
        index.close()
        with pytest.raises(ProblemError, match="the list cannot be completed"):
            await asked
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for turns in range(1, 20):
        asyncio.run(run(turns))
