"""What the source asks of the fleet of one partition."""

from typing import NamedTuple


class Unwritten(NamedTuple):
    """What one transaction is to write of one partition.

    `records` are values by key, for the partition of the state topic; None is a tombstone.
    `position` is the offset of the next event, up to which they are the effect.
    """

    records: dict[bytes, bytes | None]
    position: int
