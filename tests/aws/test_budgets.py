"""Budgets, on a clock of the test."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from presenced.aws import operations
from presenced.aws.budgets import Budgets
from presenced.settings import ReconcileSettings

SEARCH = operations.search_index()
LISTING = operations.list_thing_groups()
LOOKUP = operations.get_thing_connectivity_data("a")
RARE = operations.describe_index()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def budgets_of(**rates):
    clock = Clock()
    return Budgets(ReconcileSettings(**rates), clock), clock


def taken(budgets, *requests):
    return [budgets.try_take(request) for request in requests]


def test_searches_and_listings_share_a_budget_and_come_one_by_one():
    budgets, clock = budgets_of(searches_per_second=5)
    assert taken(budgets, SEARCH, SEARCH, LISTING) == [True, False, False]
    assert round(budgets.wait(LISTING), 9) == 0.2
    clock.now += 0.2
    assert taken(budgets, LISTING, SEARCH) == [True, False]


def test_lookups_of_a_second_may_come_at_once():
    budgets, clock = budgets_of(lookups_per_second=50)
    assert sum(taken(budgets, *[LOOKUP] * 80)) == 50
    assert taken(budgets, SEARCH) == [True]
    clock.now += 0.1
    assert sum(taken(budgets, *[LOOKUP] * 80)) == 5


def test_a_lookup_may_be_rarer_than_one_a_second():
    budgets, clock = budgets_of(lookups_per_second=0.5)
    assert taken(budgets, LOOKUP, LOOKUP) == [True, False]
    assert budgets.wait(LOOKUP) == 2.0
    clock.now += 2
    assert taken(budgets, LOOKUP) == [True]


def test_connections_are_lookups():
    budgets, _ = budgets_of(lookups_per_second=2)
    connections = [operations.get_connection(f"c{n}") for n in range(2)]
    assert taken(budgets, *connections, LOOKUP) == [True, True, False]


def test_a_client_is_asked_about_once_a_second():
    budgets, clock = budgets_of()
    a, b = operations.get_connection("a"), operations.get_connection("b")
    assert taken(budgets, a, a, b) == [True, False, True]
    assert budgets.wait(a) == 1.0
    clock.now += 0.75
    assert (budgets.wait(a), taken(budgets, a)) == (0.25, [False])
    clock.now += 0.25
    assert taken(budgets, a, b, a) == [True, True, False]


def test_a_refused_connection_takes_nothing_from_the_lookups():
    budgets, _ = budgets_of(lookups_per_second=3)
    a = operations.get_connection("a")
    assert taken(budgets, a, a, a, a) == [True, False, False, False]
    assert sum(taken(budgets, *[LOOKUP] * 5)) == 2


def test_rare_operations_have_no_budget():
    budgets, _ = budgets_of(searches_per_second=0.01, lookups_per_second=0.01)
    assert all(taken(budgets, *[RARE] * 100))


@given(
    st.floats(1, 1000),
    st.lists(st.tuples(st.floats(0, 0.05), st.integers(0, 400)), max_size=300),
)
def test_aws_never_gets_more_connections_than_it_allows(rate, steps):
    budgets, clock = budgets_of(lookups_per_second=rate)
    times, of_client = [], {}
    for pause, client in steps:
        clock.now += pause
        name = f"c{client}"
        if budgets.try_take(operations.get_connection(name)):
            times.append(clock.now)
            assert clock.now - of_client.get(name, 0) >= 1
            of_client[name] = clock.now
    for first in times:
        assert sum(first <= each < first + 1 for each in times) <= 100


def test_a_client_is_forgotten_after_a_second():
    budgets, clock = budgets_of(lookups_per_second=1000)
    for number in range(5000):
        clock.now += 0.02
        assert budgets.try_take(operations.get_connection(f"c{number}"))
    assert len(budgets._asked) <= 60


def test_waiting_requests_are_served_in_order_and_at_the_rate():
    async def scenario():
        loop = asyncio.get_running_loop()
        budgets = Budgets(ReconcileSettings(searches_per_second=50), loop.time)
        order = []

        async def ask(number):
            await budgets.take(SEARCH)
            order.append(number)

        begin = loop.time()
        await asyncio.gather(*map(ask, range(11)))
        assert loop.time() - begin >= 0.19
        assert order == list(range(11))

    asyncio.run(scenario())


def test_a_cancelled_wait_takes_nothing():
    async def scenario():
        clock = Clock()
        budgets = Budgets(ReconcileSettings(searches_per_second=1), clock)
        assert budgets.try_take(SEARCH)
        waiting = asyncio.create_task(budgets.take(SEARCH))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        clock.now += 1
        await asyncio.wait_for(budgets.take(SEARCH), 1)
        assert Counter(taken(budgets, SEARCH, RARE)) == {False: 1, True: 1}

    asyncio.run(scenario())


def test_a_share_of_the_lookups_is_made():
    budgets, clock = budgets_of(lookups_per_second=50)
    budgets.use_share(1 / 5)
    assert sum(taken(budgets, *[LOOKUP] * 80)) == 10
    clock.now += 1
    budgets.use_share(2 / 5)
    assert sum(taken(budgets, *[LOOKUP] * 80)) == 10, "what has been spent stays spent"
    clock.now += 1
    assert sum(taken(budgets, *[LOOKUP] * 80)) == 20
    assert taken(budgets, SEARCH) == [True], "one worker alone takes snapshots"


def test_connections_are_shared_too():
    budgets, clock = budgets_of(lookups_per_second=1000)
    budgets.use_share(1 / 10)
    asked = [operations.get_connection(f"c{number}") for number in range(100)]
    assert sum(taken(budgets, *asked)) == 1
    clock.now += 0.5
    assert sum(taken(budgets, *asked[:10])) == 1
    made = 0
    for _ in range(90):
        clock.now += 10 / 89
        made += sum(taken(budgets, *asked))
    assert made == 90, "9 a second, one by one"
