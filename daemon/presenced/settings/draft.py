"""The configuration before it is validated, and what validation finds wrong with it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from presenced.settings.keys import Key, dotted, nearest_key
from presenced.settings.problems import InvalidValue, Problem, SettingsError, closest

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str | int, ...]

_LONGEST_VALUE = 80
_MOST_PROBLEMS = 100
# A URL written there by mistake may contain a password.
_ADDRESSES = (
    ("mqtt", "endpoint"),
    ("mqtt", "server_name"),
    ("aws", "credentials_endpoint"),
    ("aws", "iot_url"),
    ("aws", "data_url"),
    ("sqs", "queue_url"),
    ("kafka", "bootstrap_servers"),
)

_NOT_TEXT = "must be text: put it in quotes"
_NOT_MAPPING = "must be a mapping, with one key to a line"
_MESSAGES: Mapping[str, str] = {
    "missing": "is not set",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "string_type": _NOT_TEXT,
    "path_type": _NOT_TEXT,
    "pattern_type": _NOT_TEXT,
    "tuple_type": "must be a list",
    "model_type": _NOT_MAPPING,
    "dict_type": _NOT_MAPPING,
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
}
"""pydantic's errors in words; `{}` is filled from their context."""


class Source(NamedTuple):
    """Where a value was written, and how; `text` is None for lists and mappings."""

    origin: str
    text: str | None = None


@dataclass(slots=True)
class Draft:
    """The values of file, environment and flags, each of which overrides the one before.

    `keys` are the known ones, `file` is the name of the file if there is one. `problems` were found
    before validation.
    """

    keys: Mapping[str, Key]
    file: str | None = None
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
        kept = {place: s for place, s in self.sources.items() if place[: len(path)] != path}
        self.sources = {**kept, path: source}

    def validate(self, model: type[Model], context: dict[str, Any] | None = None) -> Model:
        """Return the settings; raises SettingsError with everything that is wrong."""
        try:
            settings = model.model_validate(self.tree, context=context)
        except ValidationError as error:
            found = error.errors(include_url=False)
            # A list may be too short only because entries of it are wrong.
            wrong = {d["loc"][:length] for d in found for length in range(len(d["loc"]))}
            relevant = [d for d in found if d["type"] != "too_short" or d["loc"] not in wrong]
            problems = [*self.problems, *map(self._problem, relevant[:_MOST_PROBLEMS])]
            if more := len(relevant[_MOST_PROBLEMS:]):
                message = f"problems that are left out of this list: {more:,}"
                problems.append(Problem(key="", message=message, origin=self.file))
            raise SettingsError(problems) from None
        if self.problems:
            raise SettingsError(self.problems)
        return settings

    def _problem(self, details: ErrorDetails) -> Problem:
        # pydantic marks an error in a mapping's key with one more part.
        path: KeyPath = tuple(part for part in details["loc"] if part != "[key]")
        error = details.get("ctx", {}).get("error")
        if isinstance(error, InvalidValue) and error.key is not None:
            path = tuple(error.key.split("."))
        around = [path[:length] for length in range(len(path), 0, -1)]
        source = next((self.sources[place] for place in around if place in self.sources), None)
        keys = [self.keys[dotted(place)] for place in around if dotted(place) in self.keys]
        message, nearest = self._explain(details, dotted(path))
        return Problem(
            key=dotted(path),
            value=None if any(key.secret for key in keys) else self._shown(details, path),
            message=message,
            nearest=nearest,
            origin=source.origin if source else self.file,
        )

    def _shown(self, details: ErrorDetails, path: KeyPath) -> str | None:
        value = details["input"]
        # The value of an unknown key is not shown: it may be a misspelt secret.
        if details["type"] == "extra_forbidden" or details["loc"][-1] == "[key]":
            return None
        if not isinstance(value, str | int | float | bool | None):
            return None
        source = self.sources.get(path)
        text = value if isinstance(value, str) else json.dumps(value)
        if source and source.text is not None:
            text = source.text
        if path[:2] in _ADDRESSES:
            text = re.sub(r"[^/\s]*@", "***@", text)
        if path == ("mqtt", "username"):
            # The query string for a custom authorizer holds a token.
            text = re.sub(r"\?.*", "?***", text, flags=re.DOTALL)
        if isinstance(value, str):
            text = json.dumps(text, ensure_ascii=False)
        return f"{text[:_LONGEST_VALUE]}..." if len(text) > _LONGEST_VALUE else text or "null"

    def _explain(self, details: ErrorDetails, key: str) -> tuple[str, str | None]:
        """Return what is wrong, and what was probably meant."""
        kind, value, context = details["type"], details["input"], details.get("ctx", {})
        if kind == "extra_forbidden":
            return self._explain_unknown(key)
        if kind == "value_error":
            error = context["error"]
            return str(error), error.nearest if isinstance(error, InvalidValue) else None
        if kind == "literal_error":
            choices = re.findall("'([^']*)'", context["expected"])
            message = f"must be {', '.join(choices[:-1])} or {choices[-1]}"
            by_name = {choice.lower(): choice for choice in choices}
            nearest = closest(str(value).lower(), by_name)
            return message, by_name[nearest] if nearest else None
        meant = None
        if kind == "tuple_type" and isinstance(value, str | None):
            meant = json.dumps([value] if value else [], ensure_ascii=False)
        elif kind == "dict_type" and value is None:
            meant = "{}"
        known = _MESSAGES.get(kind)
        return known.format_map(context) if known else details["msg"], meant

    def _explain_unknown(self, key: str) -> tuple[str, str | None]:
        section, _, name = key.rpartition(".")
        if section.endswith("]") and (entries := self.keys.get(section.rpartition("[")[0])):
            nearest = closest(name, entries.entry_keys)
            known = ", ".join(entries.entry_keys)
            return "unknown key" if nearest else f"unknown key; known here are {known}", nearest
        nearest = nearest_key(key, self.keys)
        siblings = [name for name in self.keys if name.rpartition(".")[0] == section]
        if nearest or not siblings:
            return "unknown key", nearest
        return f"unknown key; known here are {', '.join(siblings)}", None
