import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.settings import format_duration, parse_duration
from presenced.settings.values import DURATION_PATTERN

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("500ms", 0.5),
        ("5s", 5),
        ("0.5s", 0.5),
        ("2m", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("30d", 2592000),
        ("1d2h3m4s5ms", 93784.005),
        ("1.5h", 5400),
    ],
)
def test_durations_are_read_as_seconds(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message", "nearest"),
    [
        ("30", "has no unit: write 30s", None),
        ("0.5", "has no unit: write 0.5s", None),
        ("-5s", "must not be negative", None),
        ("-5", "must not be negative", None),
        ("", "is not a duration: write it as 500ms, 5s, 2m, 1h30m or 30d", None),
        ("soon", "is not a duration", None),
        ("30 s", "is not a duration", "30s"),
        ("30S", "is not a duration", "30s"),
        ("5 minutes", "is not a duration", "5m"),
        ("5sec", "is not a duration", "5s"),
        ("250 milliseconds", "is not a duration", "250ms"),
        ("1 hour 30 min", "is not a duration", "1h30m"),
        ("2 days", "is not a duration", "2d"),
        ("1:30", "is not a duration", None),
        ("30m1h", "is not a duration", None),
        ("1s1s", "is not a duration", None),
        ("1w", "is not a duration", None),
        (".5s", "is not a duration", None),
        ("5s\n", "is not a duration", "5s"),
        ("٣s", "is not a duration", None),
        ("40000d", "is more than 100 years", None),
        ("9" * 400 + "s", "is more than 100 years", None),
    ],
)
def test_what_is_no_duration_says_what_to_write(text, message, nearest):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_duration(text)
    if nearest:
        assert caught.value.nearest == nearest


@given(
    st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 999), min_size=1).map(
        lambda counts: {unit: counts[unit] for unit in UNITS if unit in counts}
    )
)
def test_any_sum_of_units_is_read(counts):
    text = "".join(f"{count}{unit}" for unit, count in counts.items())
    expected = sum(count * UNITS[unit] for unit, count in counts.items())
    assert parse_duration(text) == pytest.approx(expected)
    assert re.search(DURATION_PATTERN, text)


@given(st.integers(0, 36525 * 86400 * 1000))
def test_what_is_written_is_read_again(milliseconds):
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert seconds >= 0
    assert re.search(DURATION_PATTERN, text)
