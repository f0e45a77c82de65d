"""Every key of the configuration, and the one that somebody meant.

The configuration before it is validated: data, and where each piece of it comes from.

pydantic's errors in words for people.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from presenced.settings.model import Settings
from presenced.settings.problems import InvalidValue, Problem

Holds = Literal["section", "path", "text", "data"]

_TEXTS = (str, float, SecretStr, Path, re.Pattern)
_LIKELY, _POSSIBLE = 0.8, 0.6


class Key(NamedTuple):
    """One key: `path` from the top, and what its value looks like.

    `holds` is `section` for a mapping that is always there, `path` for a file name, `text` for
    other values that are written as text, `data` for all others. `open` marks a mapping whose
    keys are the user's own. What is `secret` is never shown.
    """

    path: tuple[str, ...]
    holds: Holds
    nullable: bool
    open: bool
    secret: bool


def _keys(model: type[BaseModel], parent: tuple[str, ...] = ()) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        path = (*parent, name)
        kind, nullable = _core(info.annotation)
        section = isinstance(kind, type) and issubclass(kind, BaseModel)
        holds = "section" if section and not nullable else _holds(kind)
        is_open = get_origin(kind) is Mapping
        secret = SecretStr in (kind, *(_core(part)[0] for part in get_args(kind)))
        yield Key(path, holds, nullable, open=is_open, secret=secret)
        if section:
            yield from _keys(kind, path)


def _core(annotation: Any) -> tuple[Any, bool]:
    """What remains of an annotation without None and metadata, and whether None was in it."""
    choices = get_args(annotation)
    nullable = type(None) in choices
    kind = (
        next(choice for choice in choices if choice is not type(None)) if nullable else annotation
    )
    return (get_args(kind)[0] if get_origin(kind) is Annotated else kind), nullable


def _holds(kind: Any) -> Holds:
    if kind is Path:
        return "path"
    if get_origin(kind) is Literal:
        return "text" if all(isinstance(choice, str) for choice in get_args(kind)) else "data"
    return "text" if (get_origin(kind) or kind) in _TEXTS else "data"


def dotted(path: Iterable[str | int]) -> str:
    """A key's path for people: `mqtt.connections[0][1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    """Every key of a file that holds such a model, by its dotted path."""
    return {dotted(key.path): key for key in _keys(model)}


KEYS = keys_of(Settings)
"""Every key of the configuration file by its dotted path."""


def nearest_key(path: str, keys: Mapping[str, Key] = KEYS) -> str | None:
    """The known key that an unknown one resembles: in its own section first, then elsewhere."""
    section, _, name = path.rpartition(".")
    name = name.lower().replace("-", "_")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == section}
    everywhere = {k.rpartition(".")[2]: k for k in reversed(list(keys))}
    for names, likeness in (
        (siblings, _LIKELY),
        (everywhere, 1.0),
        (siblings, _POSSIBLE),
        (everywhere, _LIKELY),
    ):
        if found := get_close_matches(name, names, n=1, cutoff=likeness):
            return names[found[0]]
    return next((key for known, key in siblings.items() if _abbreviates(known, name)), None)


def _abbreviates(known: str, name: str) -> bool:
    """Whether a name is a known one written out, as `certificate` is `cert`, or shortened."""
    return bool(name) and (name.startswith(known) or known.startswith(name))


KeyPath = tuple[str | int, ...]


class Source(NamedTuple):
    """Where a value was written, and how; `text` is None where that is more than a word."""

    origin: str
    text: str | None = None


@dataclass(slots=True)
class Draft:
    """What file, environment and flags say, each put over the one before."""

    tree: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: tuple[str, ...], value: Any, source: Source) -> None:
        """Set a key, and make mappings of the keys above it."""
        above = self.tree
        for part in path[:-1]:
            if not isinstance(above.get(part), dict):
                above[part] = {}
            above = above[part]
        above[path[-1]] = value
        for old in [old for old in self.sources if old[: len(path)] == path]:
            del self.sources[old]
        self.sources[path] = source

    def source(self, path: KeyPath) -> Source | None:
        """Where a value, or else the nearest one around it, was written."""
        if path in self.sources:
            return self.sources[path]
        around = (self.sources.get(path[:length]) for length in range(len(path) - 1, 0, -1))
        return next((Source(source.origin) for source in around if source), None)


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
