"""Which events an answer of AWS is compared with."""

from collections.abc import Iterable, Mapping

from histories import lifecycle
from presenced.aws.merger import Merger
from presenced.events.model import LifecycleEvent, RegistryEvent
from presenced.fleet import Fleet
from presenced.pipeline import Batch
from presenced.presence import PresenceRules
from presenced.presence.record import Row

NOON = 1_700_000_000.0


class Delivered:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.events: Mapping[str, LifecycleEvent] = {}

    def merge(
        self,
        rows: Iterable[Row],
        registry: Iterable[RegistryEvent],
        events: Mapping[str, LifecycleEvent],
    ) -> None:
        self.events = events

    def give_up_lookup(self, client_id: str) -> None:
        raise AssertionError(client_id)


def receive(fleet: Fleet, merger: Merger, at: float) -> None:
    event = lifecycle(
        connected=True, timestamp=round(at * 1000), version=round(at), session="s", client_id="a"
    )
    fleet.apply(event, at, at)
    merger.observe(Batch((), (), fleet.take_changes()))


def test_events_of_before_the_question_do_not_count_while_another_request_is_under_way() -> None:
    fleet, delivered = Fleet(PresenceRules()), Delivered()
    merger = Merger(delivered)
    with merger.asking():  # a slow page
        receive(fleet, merger, NOON)
        with merger.asking():
            asked = NOON + 1
            row = Row("a", False, None, asked, 0, "GetConnection", is_answer=True)
            merger.merge([row])
            assert delivered.events == {}
            receive(fleet, merger, asked)
            merger.merge([row])
            assert list(delivered.events) == ["a"]
    with merger.asking():
        merger.merge([row])
        assert delivered.events == {}, "nothing is remembered between requests"
