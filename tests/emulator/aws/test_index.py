"""The index on a virtual clock."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.aws.index import FleetIndex, IndexStatus, ThingDocument

NAMES = ["a", "b", "c"]

lags = st.tuples(st.floats(0, 60), st.floats(0, 60)).map(lambda pair: (min(pair), max(pair)))
puts = st.lists(
    st.tuples(st.floats(0, 30), st.sampled_from(NAMES), st.none() | st.integers(0, 10**6)),
    max_size=30,
)


def document(name: str, number: int = 0, thing_id: str | None = None) -> ThingDocument:
    return ThingDocument(name, thing_id or f"id-{name}", "", (), {"n": str(number)}, None)


def visible(index: FleetIndex, now: float) -> dict[str, ThingDocument]:
    found, more = index.search(None, "", 1000, now)
    assert not more
    return {each.name: each for each in found}


@given(st.integers(), lags, puts, st.floats(0, 120))
def test_a_row_is_as_old_as_the_lag_allows(
    seed: int, lag: tuple[float, float], changes: list[tuple[float, str, int | None]], wait: float
) -> None:
    index = FleetIndex(random.Random(seed), lag)
    now = 0.0
    history: list[tuple[float, str, ThingDocument | None]] = []
    for pause, name, number in changes:
        now += pause
        made = None if number is None else document(name, number)
        index.put(name, made, now)
        history.append((now, name, made))
    now += wait
    shown = visible(index, now)
    for name in NAMES:
        of_name: list[tuple[float, ThingDocument | None]] = [(-1e9, None)]
        of_name += [(at, made) for at, each, made in history if each == name]
        certain = max(i for i, (at, _) in enumerate(of_name) if at + lag[1] <= now)
        possible = [made for at, made in of_name[certain:] if at + lag[0] <= now]
        assert shown.get(name) in possible


@given(st.integers(), lags, puts)
def test_at_last_every_row_is_true(
    seed: int, lag: tuple[float, float], changes: list[tuple[float, str, int | None]]
) -> None:
    index = FleetIndex(random.Random(seed), lag)
    now = 0.0
    truth: dict[str, ThingDocument | None] = {}
    for pause, name, number in changes:
        now += pause
        truth[name] = None if number is None else document(name, number)
        index.put(name, truth[name], now)
        visible(index, now)
    assert visible(index, now + 60) == {name: made for name, made in truth.items() if made}


def test_a_shorter_lag_does_not_overtake() -> None:
    index = FleetIndex(random.Random(1), (60, 60))
    index.put("a", document("a", 1), 0)
    index.lag = (0, 0)
    index.put("a", None, 10)
    index.put("b", document("b"), 10)
    assert visible(index, 10) == {"b": document("b")}
    assert visible(index, 60) == {"b": document("b")}


@given(st.integers(1, 7), st.integers(0, 40))
def test_pages(limit: int, things: int) -> None:
    index = FleetIndex(random.Random(1))
    for number in range(things):
        index.put(f"t-{number}", document(f"t-{number}", thing_id=f"{number * 7919 % 100:02}"), 0)
    after, names, more = "", [], True
    while more:
        found, more = index.search(None, after, limit, 0)
        assert len(found) == limit or not more
        names += [each.name for each in found]
        after = found[-1].thing_id if found else after
    assert sorted(names) == sorted(f"t-{number}" for number in range(things))


def test_changes_between_pages() -> None:
    index = FleetIndex(random.Random(1))
    for name in "acde":
        index.put(name, document(name, thing_id=name), 0)
    first, more = index.search(None, "", 2, 0)
    assert ([each.name for each in first], more) == (["a", "c"], True)
    index.put("c", None, 1)
    index.put("d", None, 1)
    index.put("b", document("b", thing_id="b"), 1)
    second, more = index.search(None, "c", 2, 1)
    assert ([each.name for each in second], more) == (["e"], False)


def test_a_thing_that_is_created_again_has_one_row() -> None:
    index = FleetIndex(random.Random(1))
    index.put("a", document("a", thing_id="1"), 0)
    visible(index, 0)
    index.put("a", document("a", thing_id="2"), 0)
    assert visible(index, 0) == {"a": document("a", thing_id="2")}


def test_names() -> None:
    index = FleetIndex(random.Random(1))
    for name in ("pump-1", "pump-2", "fan-1"):
        index.put(name, document(name), 0)
    found, more = index.search(re.compile("pump-.*"), "", 1, 0)
    assert ([each.name for each in found], more) == (["pump-1"], True)


def test_rebuilding_freezes_it() -> None:
    index = FleetIndex(random.Random(1))
    index.put("a", document("a", 1), 0)
    assert visible(index, 0) == {"a": document("a", 1)}
    index.status = IndexStatus.REBUILDING
    index.put("a", document("a", 2), 1)
    assert visible(index, 100) == {"a": document("a", 1)}
    index.status = IndexStatus.ACTIVE
    assert visible(index, 100) == {"a": document("a", 2)}
