"""Delete the things that AWS no longer lists."""

from collections.abc import Callable

from presenced.aws import operations
from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError, Cause
from presenced.aws.merger import Delivery
from presenced.events.model import ThingEvent
from presenced.fleet import Fleet
from presenced.system.loop import Clocks, CooperativeScheduler

_THINGS_AT_ONCE = 1000


class MissingThings:
    """The things of one fleet that the last complete snapshot lacks.

    `Thing.listed_in` tells which snapshot had a thing last.
    """

    def __init__(self, fleet: Fleet, delivery: Delivery, clocks: Clocks) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self._clocks = clocks
        self._scheduler = CooperativeScheduler()
        self._missing: set[str] = set()

    async def delete(self, number: int, client: Callable[[], AwsClient]) -> None:
        """Delete the things that two complete snapshots lack and AWS does not know.

        `number` is that of the snapshot that has just been completed. If AWS cannot be asked, the
        next call asks again.
        """
        missing = await self._missing_from(number)
        for name in missing & self._missing:
            request = operations.get_thing_connectivity_data(name)
            try:
                await client().send(request)
            except AwsError as error:
                if error.cause is not Cause.NOT_FOUND:
                    break
                at = round(self._clocks.wall() * 1000)
                event = ThingEvent(type="deleted", timestamp=at, thing_name=name)
                self._delivery.merge((), [event], {})
        self._missing = missing

    async def _missing_from(self, number: int) -> set[str]:
        """Return the things that a snapshot lacks, and let the event loop go on meanwhile."""
        missing: set[str] = set()
        async with self._scheduler.turn() as turn:
            for things in self._fleet.inventory.things.slices(_THINGS_AT_ONCE):
                missing.update(each.name for each in things if each.listed_in != number)
                await turn.yield_if_due()
        return missing
