"""Recognises two clients that share a client ID and throw each other out for ever.

A broker ends the old connection when a client ID connects anew (MQTT 5 section 3.1.4), and each
of the two comes back. With MQTT 5 the broker may say so (DISCONNECT 142); with 3.1.1 it cannot,
and some brokers never do.
"""

from collections import deque
from dataclasses import replace

from presenced.mqtt.faults import Fault, FaultReason

__all__ = ["TakeoverWatch"]

_WINDOW = 300.0
_LOSSES_THAT_MAKE_A_LOOP = 3
_SILENT = frozenset({FaultReason.CONNECTION_LOST, FaultReason.SERVER_DISCONNECT})


class TakeoverWatch:
    """Losses of one connection within the last five minutes. Times are monotonic seconds."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._losses: deque[tuple[float, FaultReason]] = deque()

    def judge(self, fault: Fault, now: float) -> Fault:
        """The fault of a loss of a connection that was in good order, with what the others tell."""
        self._forget(now)
        self._losses.append((now, fault.reason))
        if len(self._losses) < _LOSSES_THAT_MAKE_A_LOOP:
            return fault
        if self.certain(now):
            return replace(
                fault,
                detail=f"another client keeps taking over the client ID {self._client_id},"
                f" time after time ({fault.detail})",
                remedy="Two daemons run with the same mqtt.client_id and end each other's"
                " connections for ever: give each its own, or stop one",
            )
        if all(reason in _SILENT for _, reason in self._losses):
            return replace(
                fault,
                remedy=f"{fault.remedy} This happens time after time: if a second client uses the"
                f" client ID {self._client_id}, the two end each other's connections for ever;"
                " give each its own mqtt.client_id".strip(),
            )
        return fault

    def certain(self, now: float) -> bool:
        """Whether the broker has said often enough, and not long ago, that it is a takeover."""
        self._forget(now)
        told = sum(reason is FaultReason.TAKEN_OVER for _, reason in self._losses)
        return told >= _LOSSES_THAT_MAKE_A_LOOP

    def _forget(self, now: float) -> None:
        while self._losses and self._losses[0][0] <= now - _WINDOW:
            self._losses.popleft()
