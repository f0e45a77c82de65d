"""Shares in percent."""

import pytest

from presenced.system.shares import percent


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1e-9, "< 0.01 %"),
        (0.000_049, "< 0.01 %"),
        (0.000_051, "0.01 %"),
        (0.004, "0.4 %"),
        (0.01, "1 %"),
        (0.4, "40 %"),
        (2 / 3, "66.7 %"),
        (0.99, "99 %"),
        (0.9996, "99.96 %"),
        (0.999_949, "99.99 %"),
        (0.999_951, "> 99.99 %"),
        (1 - 1e-9, "> 99.99 %"),
        (1, "100 %"),
    ],
)
def test_all_and_nothing_are_only_what_is(share: float, text: str) -> None:
    assert percent(share) == text
