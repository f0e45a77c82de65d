"""The lease of a worker, and up to when deadlines may fire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.sources.kafka.consumer import is_member
from presenced.sources.kafka.end_marks import EndMarks
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.partitioner import murmur2


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_is_valid_for_its_duration_after_the_last_word() -> None:
    clock = Clock()
    lease = Lease(20.0, clock)
    assert not lease.is_valid
    assert lease.is_due
    lease.renew(99.0)
    assert lease.is_valid
    assert not lease.is_due
    clock.now = 104.0
    assert lease.is_due
    clock.now = 118.9
    assert lease.is_valid
    clock.now = 119.0
    assert not lease.is_valid, "it counts from before the word was asked for"
    lease.renew(95.0)
    assert not lease.is_valid, "an older word does not renew it"


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[str, int]]:
    """What happens to a partition: records enter, its end is asked for, records are applied."""
    steps = st.sampled_from(["enter", "ask", "answer", "apply"])
    return draw(st.lists(st.tuples(steps, st.integers(1, 5)), max_size=60))


@given(logs())
def test_no_deadline_is_due_before_what_entered_earlier_is_applied(
    steps: list[tuple[str, int]],
) -> None:
    marks, entered, applied = EndMarks(), [], 0
    asked: list[float] = []
    for now, (step, number) in enumerate(steps):
        if step == "enter":
            entered += [float(now)] * number
        elif step == "ask":
            asked.append(float(now))
        elif step == "answer" and asked:
            marks.add(asked.pop(0), len(entered), applied)
        elif step == "apply":
            applied = min(len(entered), applied + number)
            marks.advance(applied)
        assert all(at > marks.reached for at in entered[applied:])
    marks.advance(len(entered))
    marks.add(1000.0, len(entered), len(entered))
    assert marks.reached == 1000.0


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # of UtilsTest.testMurmur2 of Apache Kafka
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_are_hashed_as_kafka_hashes_them(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed % 2**32


@pytest.mark.parametrize(
    ("generation", "expected"), [(b"\x07\0\0\0", True), (b"\0\0\0\0", False), (b"\xff" * 4, False)]
)
def test_who_joins_anew_is_no_member(generation: bytes, expected: bool) -> None:
    assert is_member(b"CGMDv2:" + generation + b"group\0member\0\x01") is expected
