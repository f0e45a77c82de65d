"""The state of the daemon in one line, as `systemctl status` shows it."""

from collections.abc import Mapping, Sequence

from presenced.presence import State
from presenced.sources.status import ConnectionStatus

_SHOWN = (State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN)
_ALWAYS_SHOWN = (State.ONLINE, State.OFFLINE)


def status_line(clients: Mapping[State, int], connections: Sequence[ConnectionStatus]) -> str:
    """Return the numbers of clients by state, and the state of the connections."""
    shown = [state for state in _SHOWN if clients[state] or state in _ALWAYS_SHOWN]
    counts = ", ".join(f"{clients[state]} {state}" for state in shown)
    return f"clients: {counts}; {_connection_state(connections)}"


def _connection_state(connections: Sequence[ConnectionStatus]) -> str:
    problems = [f"{c.client_id}: {c.problem}" for c in connections if c.problem is not None]
    if not connections:
        return "starting"
    if not problems:
        count = f"by {len(connections)} connections " if len(connections) > 1 else ""
        return f"connected {count}to {connections[0].endpoint}"
    if len(problems) == len(connections):
        return f"not connected: {'; '.join(problems)}"
    up = len(connections) - len(problems)
    return f"{up} of {len(connections)} connections up: {'; '.join(problems)}"
