"""The counts of the last hour, against a list of all that happened."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from presenced.presence.recent_counts import WINDOW, Counts, RecentCounts

START = 1_700_000_400.0
"""The start of a slot of ten minutes."""
SLOT = 600.0


class Ended(NamedTuple):
    """A connection that ended, or was refused, `late` seconds before that was received."""

    client_id: str
    after: float
    late: float
    takeover: bool
    short: bool
    refused: bool


def ended(clients: int) -> st.SearchStrategy[Ended]:
    return st.builds(
        Ended,
        st.integers(1, clients).map("c{}".format),
        st.sampled_from([0.0, 1.0, SLOT]) | st.floats(0, 2 * WINDOW),
        st.sampled_from([0.0, 0.0, WINDOW]) | st.floats(0, 2 * WINDOW),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )


class Model:
    """Everything that happened, in a list that only grows."""

    def __init__(self) -> None:
        self.now = START
        self.happened: list[tuple[int, Ended]] = []

    def add(self, each: Ended) -> float:
        self.now += each.after
        at = self.now - each.late
        self.happened.append((int(at // SLOT), each))
        return at

    def counts(self, client_id: str) -> Counts:
        oldest = int(self.now // SLOT) - 5
        recent = [e for slot, e in self.happened if slot >= oldest and e.client_id == client_id]
        ended = [each for each in recent if not each.refused]
        takeovers = sum(each.takeover for each in ended)
        short = sum(each.short for each in ended)
        return Counts(len(ended) - takeovers, takeovers, short, len(recent) - len(ended))


def count(counts: RecentCounts, each: Ended, at: float, now: float) -> None:
    if each.refused:
        counts.count_refused(each.client_id, at, now)
    else:
        counts.count(each.client_id, at, now, takeover=each.takeover, short=each.short)


def total(counted: Counts) -> int:
    return counted.ended + counted.refused


def play(happening: list[Ended], limit: int) -> tuple[Model, RecentCounts]:
    model, counts = Model(), RecentCounts(limit)
    for each in happening:
        at = model.add(each)
        count(counts, each, at, model.now)
    return model, counts


@given(st.lists(ended(clients=4), max_size=60), st.floats(0, 2 * WINDOW))
def test_counts_are_those_of_the_window(happening: list[Ended], later: float) -> None:
    model, counts = play(happening, limit=4)
    model.now += later
    expected = {f"c{n}": model.counts(f"c{n}") for n in range(1, 5)}
    assert {each: counts.of(each, model.now) for each in expected} == expected
    for least in (1, 2, 1):
        some = {
            key: each for key, each in expected.items() if least <= max(each.ended, each.refused)
        }
        assert counts.at_least(least, model.now) == some


@given(st.lists(ended(clients=4), max_size=40), st.data())
def test_counts_are_the_same_in_any_order_of_reception(
    happening: list[Ended], data: st.DataObject
) -> None:
    """A queue without order may deliver an event hours after later ones."""
    model, received = Model(), []
    for each in happening:
        at = model.add(each)
        received.append((each, at, model.now))
    counts = RecentCounts(4)
    for each, at, now in data.draw(st.permutations(received)):
        count(counts, each, at, now)
    expected = {f"c{n}": model.counts(f"c{n}") for n in range(1, 5)}
    assert {each: counts.of(each, model.now) for each in expected} == expected


@given(st.lists(ended(clients=12), max_size=80))
def test_beyond_the_limit_the_lowest_counts_go(happening: list[Ended]) -> None:
    """In one slot: a client that stays has at least as high a count as each that goes."""
    model, counts = Model(), RecentCounts(3)
    for each in happening:
        at = model.add(each._replace(after=0.0, late=0.0))
        before = counts.at_least(1, model.now)
        count(counts, each, at, model.now)
        after = counts.at_least(1, model.now)
        assert len(after) <= 3
        dropped = before.keys() - after.keys()
        assert not dropped or max(total(before[key]) for key in dropped) <= min(
            map(total, after.values())
        )
        for key in after:
            assert total(counts.of(key, model.now)) <= total(model.counts(key))


@given(st.lists(ended(clients=5) | st.integers(1, 5), max_size=60))
def test_those_found_are_kept_up_to_date(happening: list[Ended | int]) -> None:
    model, counts = Model(), RecentCounts(4)
    for each in happening:
        if isinstance(each, int):
            counts.remove(f"c{each}")
        else:
            count(counts, each, model.add(each), model.now)
        expected = {}
        for client_id in (f"c{number}" for number in range(1, 6)):
            counted = counts.of(client_id, model.now)
            if counted.ended >= 2 or counted.refused >= 2:
                expected[client_id] = counted
        assert counts.at_least(2, model.now) == expected


@given(st.lists(ended(clients=3), max_size=30))
def test_a_removed_client_has_no_counts(happening: list[Ended]) -> None:
    model, counts = play(happening, limit=3)
    others = counts.of("c2", model.now)
    counts.remove("c1")
    assert counts.of("c1", model.now) == Counts(0, 0, 0)
    assert counts.of("c2", model.now) == others
    model.now += WINDOW + SLOT
    assert not counts.at_least(1, model.now)


def goes_on(model: Model, client_id: str, slot: int) -> bool:
    happened = [e for at, e in model.happened if at == slot and e.client_id == client_id]
    return sum(each.takeover and not each.refused for each in happened) >= 2


@given(st.lists(ended(clients=2), max_size=60))
def test_a_spell_begins_after_an_hour_without_it(happening: list[Ended]) -> None:
    model, counts = Model(), RecentCounts(2)
    first = last = None
    for each in happening:
        at = model.add(each._replace(late=0.0))  # late events change slots of long ago
        count(counts, each, at, model.now)
        present = int(model.now // SLOT)
        if last is not None and present - last >= 6:
            first = last = None
        if goes_on(model, "c1", present):
            first, last = first or present, present
        expected = None if first is None or last is None else (first * SLOT, last * SLOT)
        assert counts.spell("c1", "takeovers", model.now) == expected
    counts.remove("c1")
    assert counts.spell("c1", "takeovers", model.now) is None


def test_a_clock_that_is_set_back_leaves_no_begin_in_the_future() -> None:
    counts = RecentCounts()
    for at in (START + 10 * SLOT, START + 10 * SLOT, START, START):
        counts.of("c", at)  # which tells that the clock was set back
        counts.count_refused("c", at, at)
    spell = counts.spell("c", "refused", START + 5 * SLOT)
    assert spell is not None
    assert spell.first == START


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 5)), max_size=40))
def test_a_clock_that_jumps_never_leaves_counts_for_longer_than_the_window(
    jumps: list[tuple[float, int]],
) -> None:
    counts = RecentCounts(3)
    for at, client in jumps:
        counts.count(f"c{client}", at, at, takeover=False, short=True)
    now = jumps[-1][0] if jumps else 0.0
    kept = sum(each.ended for each in counts.at_least(1, now).values())
    assert kept <= sum(-WINDOW < at - now <= 2 * SLOT for at, _ in jumps)


def test_a_few_takeovers_before_a_fight_do_not_make_it_older() -> None:
    counts = RecentCounts()
    for slot, number in ((0, 3), (1, 60), (2, 180)):
        for each in range(number):
            at = START + slot * SLOT + each
            counts.count("c", at, at, takeover=True, short=True)
    spell = counts.spell("c", "takeovers", START + 3 * SLOT)
    assert spell is not None
    assert (spell.first, spell.last) == (START + SLOT, START + 2 * SLOT)
