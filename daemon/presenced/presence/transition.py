"""What becomes of a client, as others are told it."""

from typing import Literal

import msgspec

from presenced.presence.client import State

__all__ = ["ForgetReason", "Transition"]

ForgetReason = Literal["expired", "thing_deleted", "requested"]


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A client went online or offline.

    `since` is the received time of the event that led to it, `time` the moment at which it was
    confirmed, both in seconds since the epoch.
    """

    time: float
    since: float
    client_id: str
    previous: State
    state: State
    reason: str | None
