"""Durations as people write them: `500ms`, `5s`, `2m`, `1h30m`, `30d`."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from presenced.settings.problems import InvalidValue

__all__ = ["PATTERN", "Duration", "format_duration", "parse_duration", "within"]

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST = 36525 * _SECONDS["d"]
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_EXAMPLES = "write it as 500ms, 5s, 2m, 1h30m or 30d"
_WORDS = re.compile(
    r"(?P<ms>milliseconds?|millis|msecs?)|(?P<s>seconds?|secs?)|(?P<m>minutes?|mins?)"
    r"|(?P<h>hours?|hrs?)|(?P<d>days?)"
)

PATTERN = "^(0|(?=[0-9])" + "".join(f"({_NUMBER}{unit})?" for unit in _SECONDS) + ")$"
"""Every duration, as a regular expression that Python and JSON Schema both understand."""


def parse_duration(text: str) -> float:
    """The seconds that a duration such as `1h30m` stands for.

    Units are d, h, m, s and ms, each at most once and the largest first; `0` needs none.
    Raises ValueError with a message for people.
    """
    if re.fullmatch(PATTERN, text) is None:
        raise _not_a_duration(text)
    parts = re.findall(rf"({_NUMBER})([a-z]+)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, _, unit in parts)
    if seconds > _LONGEST:
        raise InvalidValue("is more than 100 years")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it, to the nearest millisecond."""
    rest = round(seconds * 1000)
    parts = []
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def within(least: str, most: str, *, whole: bool = False) -> AfterValidator:
    """Restrict a `Duration` to a range and, with `whole`, to whole seconds."""

    def check(seconds: float) -> float:
        if not parse_duration(least) <= seconds <= parse_duration(most):
            raise InvalidValue(f"must be from {least} to {most}")
        if whole and not seconds.is_integer():
            raise InvalidValue("must be whole seconds")
        return seconds

    return AfterValidator(check)


class _DurationSchema:
    """JSON Schema of what the file may hold, which is not the float that comes of it."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # `pattern` binds texts only, and the limits numbers only: a number must be 0.
        return {"type": ["string", "integer"], "pattern": PATTERN, "minimum": 0, "maximum": 0}


def _read(value: Any) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return parse_duration(f"{value}" if value else "0")
    raise InvalidValue(f"is not a duration: {_EXAMPLES}")


Duration = Annotated[float, BeforeValidator(_read), _DurationSchema()]
"""A field that is written as a duration and read as seconds."""


def _not_a_duration(text: str) -> InvalidValue:
    plain = text.strip()
    if plain.startswith("-"):
        return InvalidValue("must not be negative")
    if re.fullmatch(_NUMBER, plain):
        return InvalidValue(f"has no unit: write {plain}s if seconds are meant")
    guess = _WORDS.sub(lambda word: str(word.lastgroup), plain.lower().replace(" ", ""))
    nearest = guess if re.fullmatch(PATTERN, guess) else None
    return InvalidValue(f"is not a duration: {_EXAMPLES}", nearest=nearest)
