"""pydantic's errors in words for people."""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from presenced.settings.draft import Draft, KeyPath
from presenced.settings.keys import KEYS, Key, dotted, nearest_key
from presenced.settings.problems import InvalidValue, Problem

__all__ = ["problems_of"]

_LONGEST_VALUE = 80
# Where a URL is written by mistake, it may hold a password.
_ENDPOINT = ("mqtt", "endpoint")


def problems_of(
    error: ValidationError, draft: Draft, keys: Mapping[str, Key] = KEYS
) -> list[Problem]:
    """Everything that validation found, with where it was written.

    `keys` are those that the file may hold.
    """
    found = error.errors(include_url=False)
    return [_problem(details, draft, keys) for details in found if not _follows(details, found)]


def _follows(details: ErrorDetails, found: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because entries of it were found wrong."""
    loc = details["loc"]
    return details["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and other["loc"] != loc for other in found
    )


def _problem(details: ErrorDetails, draft: Draft, keys: Mapping[str, Key]) -> Problem:
    # pydantic marks an error in a mapping's key with one more part.
    path = tuple(part for part in details["loc"] if part != "[key]")
    source = draft.source(path)
    message, nearest = _explain(details, path, keys)
    return Problem(
        key=dotted(path),
        value=None if _is_secret(path, keys) else _shown(details, path, draft),
        message=message,
        nearest=nearest,
        origin=source.origin if source else None,
    )


def _is_secret(path: KeyPath, keys: Mapping[str, Key]) -> bool:
    around = (keys.get(dotted(path[:length])) for length in range(1, len(path) + 1))
    return any(key.secret for key in around if key)


def _shown(details: ErrorDetails, path: KeyPath, draft: Draft) -> str | None:
    value = details["input"]
    # The value of an unknown key is not shown: it may be a misspelt secret.
    if details["type"] == "extra_forbidden":
        return None
    if details["loc"][-1] == "[key]" or not isinstance(value, str | int | float | bool | None):
        return None
    source = draft.sources.get(path)
    text = source.text if source and source.text is not None else _plain(value)
    if path == _ENDPOINT:
        text = re.sub(r"[^/\s]*@", "***@", text)
    text = json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text
    return f"{text[:_LONGEST_VALUE]}..." if len(text) > _LONGEST_VALUE else text or "null"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _explain(
    details: ErrorDetails, path: KeyPath, keys: Mapping[str, Key]
) -> tuple[str, str | None]:
    context = details.get("ctx", {})
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown_key(dotted(path), keys)
    if kind == "value_error":
        error = context["error"]
        return str(error), error.nearest if isinstance(error, InvalidValue) else None
    if kind == "literal_error":
        return _not_among(context["expected"], value)
    if kind in _MESSAGES:
        return _MESSAGES[kind].format_map(context), _container(kind, value)
    return details["msg"], None


def _container(kind: str, value: Any) -> str | None:
    """What was probably meant by a value that is no list or mapping but should be."""
    if kind == "tuple_type" and isinstance(value, str | None):
        return json.dumps([value] if value else [], ensure_ascii=False)
    return "{}" if kind == "dict_type" and value is None else None


_NOT_TEXT = "must be text: put it in quotes"
_NOT_MAPPING = "must be a mapping, with one key to a line"
_MESSAGES: Mapping[str, str] = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": _NOT_TEXT,
    "path_type": _NOT_TEXT,
    "pattern_type": _NOT_TEXT,
    "tuple_type": "must be a list",
    "model_type": _NOT_MAPPING,
    "dict_type": _NOT_MAPPING,
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
}


def _unknown_key(key: str, keys: Mapping[str, Key]) -> tuple[str, str | None]:
    nearest = nearest_key(key, keys)
    section = key.rpartition(".")[0]
    siblings = [name for name in keys if name.rpartition(".")[0] == section]
    if nearest or not siblings:
        return "unknown key", nearest
    return f"unknown key; known here are {', '.join(siblings)}", None


def _not_among(expected: str, value: Any) -> tuple[str, str | None]:
    choices = re.findall("'([^']*)'", expected)
    nearest = get_close_matches(str(value).lower(), choices, n=1)
    return f"must be {', '.join(choices[:-1])} or {choices[-1]}", nearest[0] if nearest else None
