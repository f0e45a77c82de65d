"""Making a fleet known to a daemon."""

from itertools import islice

from benchmarks.events import Lives
from benchmarks.processes import Process
from benchmarks.publisher import Publisher, encoded

__all__ = ["fill"]

_AT_ONCE = 50_000


def fill(publisher: Publisher, daemon: Process, clients: int, lives: Lives, qos: int = 0) -> None:
    """Have clients 0, 1, ... connect, no more at once than a daemon may have waiting at QoS 0."""
    events = lives.connect(range(clients))
    while blocks := encoded(islice(events, _AT_ONCE), qos):
        publisher.send(blocks)
        daemon.wait_until_idle()
