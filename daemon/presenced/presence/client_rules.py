"""What is different for some clients, by patterns of their client IDs."""

from collections.abc import Sequence

import msgspec

from presenced.presence.name_patterns import NamePatterns


class ClientRule(msgspec.Struct, frozen=True, gc=False):
    """What is different for clients whose ID matches a shell-style pattern; None is as for others.

    Durations are in seconds; `offline_delay` is that of every reason. Without `series` a client has
    no series of its own.
    """

    match: str
    offline_delay: float | None = None
    forget_offline_after: float | None = None
    series: bool = True


class ClientRules:
    """Rules for clients; the first that matches applies."""

    def __init__(self, rules: Sequence[ClientRule]) -> None:
        self._any = NamePatterns([rule.match for rule in rules])
        self._rules = [(NamePatterns([rule.match]), rule) for rule in rules]

    def find(self, client_id: str) -> ClientRule | None:
        """Return the rule for a client; None for most."""
        if not self._any.match(client_id):
            return None
        return next(rule for patterns, rule in self._rules if patterns.match(client_id))
