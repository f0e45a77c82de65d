"""Events in another partition than that of their client are counted."""

from presenced.events.message import Message
from presenced.events.status import StatusTopic
from presenced.fleet import Fleet, Partition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.kafka.placement import Placement

OF = 6


def of_partition(number: int) -> str:
    """A client ID whose events belong into a partition."""
    return next(
        name
        for name in map("client-{}".format, range(1000))
        if partition_of(name.encode(), OF) == number
    )


def test_each_event_of_a_client_in_the_wrong_partition_counts() -> None:
    placement = Placement()
    fleet = Fleet(PresenceRules())
    pipeline = Pipeline(fleet, [placement.observer_of(Partition(2, OF))])
    right, wrong = of_partition(2), of_partition(3)

    def receive(kind: str, client_id: str, version: int) -> None:
        payload = b'{"versionNumber": %d, "sessionIdentifier": "s%d"}' % (version, version)
        topic = f"$aws/events/presence/{kind}/{client_id}"
        pipeline.process([Message(topic, payload, 1, 10.0, 10.0)])

    receive("connected", right, 1)
    receive("disconnected", right, 1)
    assert placement.misplaced == 0
    receive("connected", wrong, 1)
    assert placement.misplaced == 1
    receive("disconnected", wrong, 1)
    receive("connected", wrong, 2)
    receive("connected", right, 2)
    assert placement.misplaced == 3


def test_each_event_of_a_thing_in_the_wrong_partition_counts() -> None:
    placement = Placement()
    pipeline = Pipeline(Fleet(PresenceRules()), [placement.observer_of(Partition(2, OF))])
    right, wrong = of_partition(2), of_partition(3)

    def create(name: str) -> None:
        payload = b'{"timestamp": 1000, "operation": "CREATED", "versionNumber": 1}'
        pipeline.process([Message(f"$aws/events/thing/{name}/created", payload, 1, 10.0, 10.0)])

    def connect(name: str) -> None:
        payload = b'{"versionNumber": 1, "sessionIdentifier": "s1"}'
        pipeline.process(
            [Message(f"$aws/events/presence/connected/{name}", payload, 1, 10.0, 10.0)]
        )

    create(right)
    connect(right)
    assert placement.misplaced == 0
    create(wrong)
    assert placement.misplaced == 1
    connect(wrong)  # it was known before, as that of a thing
    assert placement.misplaced == 2


def test_events_of_clients_that_were_misplaced_before_a_restart_count() -> None:
    placement = Placement()
    observer = placement.observer_of(Partition(2, OF))
    fleet = Fleet(PresenceRules())
    right, wrong = of_partition(2), of_partition(3)
    pipeline = Pipeline(fleet)

    def receive(client_id: str, version: int) -> None:
        payload = b'{"versionNumber": %d, "sessionIdentifier": "s%d"}' % (version, version)
        topic = f"$aws/events/presence/connected/{client_id}"
        pipeline.process([Message(topic, payload, 1, 10.0, 10.0)])

    others = [f"other-{number}" for number in range(1000)]
    receive(right, 1)
    receive(wrong, 1)
    pipeline.observers.append(observer)
    placement.check_later(observer, [*others, *fleet.presence.clients])
    for _ in range(10):
        placement.check()
    assert placement.misplaced == 0
    receive(right, 2)
    receive(wrong, 2)
    receive(wrong, 3)
    assert placement.misplaced == 2


def test_status_messages_belong_into_the_partition_of_their_client() -> None:
    placement = Placement()
    status = StatusTopic("devices/+/status", "{1}", "online", "offline")
    observers = [placement.observer_of(Partition(2, OF))]
    pipeline = Pipeline(Fleet(PresenceRules()), observers, status_topics=[status])
    for partition in (2, 3):
        topic = f"devices/{of_partition(partition)}/status"
        pipeline.process([Message(topic, b"online", 1, 10.0, 10.0)])
    assert placement.misplaced == 1
