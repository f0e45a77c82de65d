"""Shares as people read them."""

import math

_NEARLY_ALL, _NEARLY_NONE = 0.99, 0.01


def percent(share: float) -> str:
    """Return a share from 0 to 1 in percent: `66.7 %`.

    It is `100 %` only if it is all and `0 %` only if it is nothing. Near either it has two
    decimals: in a large fleet `99.95 %` is many clients. `percent` in the console's `text.js` is
    the same.
    """
    if 0 < share < 1 and not _NEARLY_NONE <= share <= _NEARLY_ALL:
        rounded = math.floor(10_000 * share + 0.5) / 100
        if rounded in (0, 100):
            return "> 99.99 %" if rounded else "< 0.01 %"
    else:
        rounded = math.floor(1000 * share + 0.5) / 10
    return f"{rounded:g} %"
