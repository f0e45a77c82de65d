"""What `presenced top` reads of the answers of the API. It ignores fields that it does not know."""

from datetime import datetime
from typing import Annotated

import msgspec

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class Aws(msgspec.Struct):
    """Requests to AWS: what fails at present."""

    problems: list[str] = []


class Certificate(msgspec.Struct):
    """A certificate of the daemon: what to say of it if it has expired or expires soon."""

    warning: str | None = None


class Daemon(msgspec.Struct):
    """The daemon itself: its state, since when, and how many clients are in doubt.

    `as_of` is as of when the clients are while no events are received, None if that is not known;
    `not_received` are the topic filters that are not while others are.
    `meaning` has sentences on what the state means for those of the clients.
    """

    state: str
    since: Timestamp | None = None
    as_of: Timestamp | None = None
    text: str = ""
    not_received: list[str] = []
    meaning: list[str] = []
    in_doubt: int = 0
    aws: Aws | None = None
    certificates: list[Certificate] | None = None


class Minute(msgspec.Struct):
    """How many clients were in each state at a time."""

    at: Timestamp
    online: int
    pending: int
    offline: int

    @property
    def share(self) -> float | None:
        """The share that was not offline; None without clients."""
        known = self.online + self.pending + self.offline
        return (self.online + self.pending) / known if known else None


class Fleet(msgspec.Struct):
    """The fleet now, an hour and a day ago, and minute by minute. Shares are from 0 to 1."""

    clients: dict[str, int]
    share_online: float | None = None
    hour_ago: float | None = None
    day_ago: float | None = None
    trend: list[Minute] = []


class Share(msgspec.Struct):
    """How many of the clients of a thing type or thing group are offline."""

    name: str
    offline: int
    of: int


class Standout(msgspec.Struct):
    """The type, group or reason that stands out, in words."""

    text: str


class Offline(msgspec.Struct):
    """The clients that are offline: by reason, thing type and thing group."""

    by_reason: dict[str, int] = {}
    by_thing_type: list[Share] = []
    by_thing_group: list[Share] = []
    standout: Standout | None = None


class Device(msgspec.Struct):
    """A single device that stands out, in words."""

    text: str


class Partitions(msgspec.Struct):
    """The partitions of Kafka that a worker has."""

    owned: list[int]
    of: int | None = None


class Overview(msgspec.Struct):
    """The answer of `/api/v1/overview`."""

    time: Timestamp
    daemon: Daemon
    fleet: Fleet
    offline: Offline
    devices: list[Device] = []
    partitions: Partitions | None = None


class OfflineClient(msgspec.Struct):
    """A client that is offline."""

    client_id: str
    since: Timestamp | None = None
    reason: str | None = None
    thing_groups: list[str] = []


class Clients(msgspec.Struct):
    """The answer of `/api/v1/clients`."""

    clients: list[OfflineClient]
