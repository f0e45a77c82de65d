"""The configuration before it is validated: data, and where each piece of it comes from."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from presenced.settings.problems import Problem

__all__ = ["Draft", "KeyPath", "Source"]

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
