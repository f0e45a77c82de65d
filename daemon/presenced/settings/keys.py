"""The keys of a configuration file, as the JSON Schema of its model describes them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from presenced.settings.model import Settings
from presenced.settings.problems import LONGEST_NAME

# Two names that are equal have the likeness 1.
_ENOUGH = 0.8
_SAME_SECTION = 0.25


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path from the top, and the JSON Schema of its value.

    `section` is the schema of a mapping with keys of its own, None for other values. `entry_keys`
    are the keys of each entry, if the value is a list of mappings.
    """

    path: tuple[str, ...]
    schema: Mapping[str, Any]
    section: Mapping[str, Any] | None
    entry_keys: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["section", "path", "text", "data"]:
        """The kind of value.

        `section` is a mapping that always exists, `path` the name of a file, `text` another value
        that is written as text, `data` any other.
        """
        if "$ref" in self.schema:
            return "section"
        if any(choice.get("format") == "path" for choice in self._choices):
            return "path"
        # A duration is a string or an integer.
        texts = all("string" in c.get("type", ()) or c == {"type": "null"} for c in self._choices)
        return "text" if texts else "data"

    @property
    def nullable(self) -> bool:
        """Whether the value may be null."""
        return {"type": "null"} in self._choices

    @property
    def open(self) -> bool:
        """Whether the value is a mapping whose keys are the user's own."""
        return self.schema.get("type") == "object"

    @property
    def secret(self) -> bool:
        """Whether the value, or each value of an open mapping, is never shown."""
        values = [*self._choices, self.schema.get("additionalProperties") or {}]
        return any(value.get("format") == "password" for value in values)

    @property
    def _choices(self) -> list[Mapping[str, Any]]:
        choices: list[Mapping[str, Any]] = self.schema.get("anyOf", [self.schema])
        return choices


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file with this model."""
    schema = json.loads(json.dumps(model.model_json_schema()), object_hook=_tidied)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def _tidied(node: dict[str, Any]) -> dict[str, Any]:
    """Drop titles, which pydantic derives from names; put descriptions on one line."""
    node.pop("title", None)
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    return node


def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    """Return every key of a file with this model, by its dotted path."""
    schema = schema_of(model)

    def walk(section: Mapping[str, Any], parent: tuple[str, ...]) -> Iterator[Key]:
        for name, field in section["properties"].items():
            reference = next((c["$ref"] for c in field.get("anyOf", [field]) if "$ref" in c), None)
            inner = schema["$defs"][reference.rpartition("/")[2]] if reference else None
            entry = field.get("items", {}).get("$ref", "").rpartition("/")[2]
            entry_keys = tuple(schema["$defs"][entry]["properties"]) if entry else ()
            yield Key((*parent, name), field, inner, entry_keys)
            if inner:
                yield from walk(inner, (*parent, name))

    return {dotted(key.path): key for key in walk(schema, ())}


def dotted(path: Iterable[str | int]) -> str:
    """Return the path of a key for people: `mqtt.connections[0][1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def nearest_key(path: str, keys: Mapping[str, Key]) -> str | None:
    """Return the known key that an unknown one resembles, preferably in the same section."""
    section, _, name = path.rpartition(".")
    if len(name) > LONGEST_NAME:
        return None
    name = name.lower().replace("-", "_")

    def likeness(key: str) -> float:
        known_section, _, known = key.rpartition(".")
        ratio = SequenceMatcher(None, name, known).ratio()
        if known_section != section:
            return ratio
        # A name may be written out, as in `certificate` for `cert`, or shortened.
        if name and (name.startswith(known) or known.startswith(name)):
            ratio = max(ratio, _ENOUGH - _SAME_SECTION)
        return ratio + _SAME_SECTION

    nearest = max(keys, key=likeness)
    return nearest if likeness(nearest) >= _ENOUGH else None


KEYS = keys_of(Settings)
"""Every key of the configuration file by its dotted path."""
