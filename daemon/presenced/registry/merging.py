"""One object as two processes have heard of it: what both know together.

Whatever order events come in, they end in the same. So it is as if the `later` process had begun
with what the `earlier` one knew.
"""

from typing import TypeVar

from presenced.registry.facts import merged, since
from presenced.registry.objects import Thing, ThingGroup, ThingType
from presenced.registry.ordering import Outcome, stand

__all__ = ["merge_group", "merge_thing", "merge_type"]

T = TypeVar("T", Thing, ThingGroup, ThingType)


def merge_thing(earlier: Thing, later: Thing) -> None:
    """Let `later` know what `earlier` does, too; memberships of deleted groups are kept."""
    own = _own(earlier, later)
    later.mark, later.told_type, later.attributes = own.mark, own.told_type, own.attributes
    later.ended = max(earlier.ended, later.ended)
    later.type_facts = since(
        merged(earlier.type_facts, later.type_facts), max(later.told_at, later.ended + 1)
    )
    later.memberships = since(merged(earlier.memberships, later.memberships), later.ended + 1)


def merge_group(earlier: ThingGroup, later: ThingGroup) -> None:
    """Let `later` know what `earlier` was told, too; not who is in it and below it."""
    own = _own(earlier, later)
    later.mark, later.told_parent, later.attributes = own.mark, own.told_parent, own.attributes
    later.ended = max(earlier.ended, later.ended)
    later.parent_facts = since(
        merged(earlier.parent_facts, later.parent_facts), max(later.told_at, later.ended + 1)
    )


def merge_type(earlier: ThingType, later: ThingType) -> None:
    """Let `later` know what `earlier` was told, too; not how many things are of it."""
    of_one_moment = later.mark is not None and later.mark == earlier.mark and not later.deleted
    own = later if of_one_moment else _own(earlier, later)
    later.mark = own.mark
    later.deprecated, later.searchable, later.propagating = own.told


def _own(earlier: T, later: T) -> T:
    """The one of both whose own last event stands."""
    if later.mark is None:
        return earlier
    if earlier.mark is None or stand(later.mark, earlier.mark) is Outcome.APPLIED:
        return later
    return earlier
