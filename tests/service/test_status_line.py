"""The state of the daemon in one line."""

import pytest

from presenced.presence import State
from presenced.service.status_line import status_line
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.source import summary_of
from presenced.sources.mqtt.status import ConnectionStatus


def clients(**counts: int) -> dict[State, int]:
    return dict.fromkeys(State, 0) | {State(name): count for name, count in counts.items()}


def connection(client_id: str, *, up: bool) -> ConnectionStatus:
    status = ConnectionStatus(client_id, ["#"], endpoint="broker.example")
    if up:
        status.up(resumed=False)
        status.filter_granted("#", 1)
    else:
        status.failed(Fault(FaultReason.UNREACHABLE, "connection refused", "Start it"))
    return status


@pytest.mark.parametrize(
    ("ups", "expected"),
    [
        ([], "starting"),
        ([True], "connected to broker.example"),
        ([True, True], "connected by 2 connections to broker.example"),
        ([False], "not connected: c-0: connection refused. Start it"),
        ([True, False], "1 of 2 connections up: c-1: connection refused. Start it"),
    ],
)
def test_status_line_describes_the_connections(ups: list[bool], expected: str) -> None:
    connections = [connection(f"c-{number}", up=up) for number, up in enumerate(ups)]
    assert (
        status_line(clients(), summary_of(connections))
        == f"clients: 0 online, 0 offline; {expected}"
    )


def test_status_line_counts_clients() -> None:
    counts = clients(online=47, pending=2, offline=1, unknown=3)
    line = "clients: 47 online, 2 pending, 1 offline, 3 unknown; starting"
    assert status_line(counts, "starting") == line
