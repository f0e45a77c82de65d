"""Shell-style patterns for names, and the clients that they leave out."""

import fnmatch
import re
from collections.abc import Collection, Sequence

_PREFIX_PATTERN = re.compile(r"[^*?[]*\*", re.DOTALL)


class NamePatterns:
    """Shell-style patterns, as in `fnmatch`, case-sensitive."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # Most patterns are a prefix and "*", which need no regular expression.
        self._prefixes = tuple(p[:-1] for p in patterns if _PREFIX_PATTERN.fullmatch(p))
        others = [p for p in patterns if not _PREFIX_PATTERN.fullmatch(p)]
        expression = "|".join(fnmatch.translate(pattern) for pattern in others)
        self._matches = re.compile(expression).match if others else None

    def match(self, name: str) -> bool:
        """Return whether a name matches one of the patterns."""
        if name.startswith(self._prefixes):
            return True
        return self._matches is not None and self._matches(name) is not None


class ClientFilter:
    """The clients that are left out of presence: the daemon's own, and those of patterns."""

    def __init__(self, own: Collection[str] = (), patterns: Sequence[str] = ()) -> None:
        self._own = frozenset(own)
        self._ignored = NamePatterns(patterns)

    def why_ignored(self, client_id: str) -> str | None:
        """Return `own_client`, `ignored_client`, or None for a client of the fleet."""
        if client_id in self._own:
            return "own_client"
        return "ignored_client" if self._ignored.match(client_id) else None
