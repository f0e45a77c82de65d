"""Two clients that share a client ID."""

from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.status import ConnectionStatus

FILTER = "$aws/events/#"
TAKEN_OVER = Fault(FaultReason.TAKEN_OVER, "the broker disconnected presenced", "One remedy")
LOST = Fault(FaultReason.CONNECTION_LOST, "the connection ended", "One remedy")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[ConnectionStatus, Clock]:
    clock = Clock()
    return ConnectionStatus("presenced", [FILTER], clock=clock), clock


def live(status: ConnectionStatus, clock: Clock, *, seconds: float) -> None:
    """Connect, be granted all, and stay for so long."""
    status.up(resumed=False)
    status.subscribing(clock.now)
    status.filter_granted(FILTER, 1)
    clock.now += seconds


def test_repeated_takeovers_are_named_and_stay_named() -> None:
    status, clock = make()
    for _ in range(2):
        live(status, clock, seconds=10)
        status.lost(TAKEN_OVER, clock.now)
    live(status, clock, seconds=10)
    assert status.problem is None, "twice may happen"
    status.lost(TAKEN_OVER, clock.now)
    live(status, clock, seconds=10)
    assert "repeatedly takes over the client ID presenced" in str(status.problem)
    assert "same mqtt.client_id" in str(status.problem)
    assert status.failures[FaultReason.TAKEN_OVER] == 3
    clock.now += 300
    assert status.problem is None, "five minutes without one"


def test_unexplained_losses_suggest_a_second_client() -> None:
    status, clock = make()
    for _ in range(3):
        live(status, clock, seconds=10)
        status.lost(LOST, clock.now)
    assert "One remedy" in str(status.problem)
    assert "if a second client uses the client ID presenced" in str(status.problem)
    live(status, clock, seconds=10)
    assert status.problem is None, "a guess is not held against a connection that is up"


def test_losses_far_apart_suggest_nothing() -> None:
    status, clock = make()
    for _ in range(5):
        live(status, clock, seconds=400)
        status.lost(LOST, clock.now)
    assert str(status.problem) == "the connection ended. One remedy"
