"""Every key of the configuration, and the one that somebody meant."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr

from presenced.settings.model import Settings

__all__ = ["KEYS", "Key", "dotted", "keys_of", "nearest_key"]

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
    for name, field in model.model_fields.items():
        path = (*parent, name)
        kind, nullable = _core(field.annotation)
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
