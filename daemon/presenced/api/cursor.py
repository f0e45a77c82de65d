"""Where a page ended, as a text that means nothing to whoever passes it on."""

import base64
import binascii
import json
import math
from typing import Any

from presenced.api.problems import ProblemError
from presenced.api.selection import Key, Order

__all__ = ["read_cursor", "write_cursor"]


def write_cursor(order: Order, key: Key) -> str:
    """The cursor after a key of an order."""
    text = json.dumps([order.value, key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> Key:
    """The key in a cursor; raises ProblemError where it is none, or one of another order."""
    told = _decode(text)
    if isinstance(told, list) and len(told) == 2 and told[0] == order.value:
        key = told[1]
        if order.by_since:
            if isinstance(key, list) and len(key) == 2 and _is_number(key[0]) and _is_text(key[1]):
                return (float(key[0]), key[1])
        elif _is_text(key):
            return str(key)
    raise ProblemError.of_parameter(
        "cursor", text, f"the next_cursor of a page with the same sort, here {order.value}"
    )


def _decode(text: str) -> Any:
    try:
        padded = text + "=" * (-len(text) % 4)
        return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
