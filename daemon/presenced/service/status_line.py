"""The state of the daemon in one line, as `systemctl status` shows it."""

from collections.abc import Mapping

from presenced.presence import State

_SHOWN = (State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN)
_ALWAYS_SHOWN = (State.ONLINE, State.OFFLINE)


def status_line(clients: Mapping[State, int], source: str) -> str:
    """Return the numbers of clients by state, and the state of the source."""
    shown = [state for state in _SHOWN if clients[state] or state in _ALWAYS_SHOWN]
    counts = ", ".join(f"{clients[state]} {state}" for state in shown)
    return f"clients: {counts}; {source}"
