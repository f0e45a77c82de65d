"""Disconnects that are awaited: those of connections that others took the place of."""

from typing import Any

from presenced.presence.client import Client, ConnectionKey, Replaced
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.ordering import Stamp, same_connection

__all__ = ["AwaitedDisconnects"]

_MOST = 64


class AwaitedDisconnects:
    """The replaced connections of all clients; each client holds its own (`Client.replaced`)."""

    def __init__(self, deadlines: Deadlines[Any], counts: PresenceCounts) -> None:
        self._deadlines = deadlines
        self._counts = counts

    def expect(
        self, client: Client, key: ConnectionKey, until: float, *, ahead: float | None = None
    ) -> None:
        """Await the disconnect of one of a client's connections until a monotonic time.

        `ahead` is how far ahead that is. Of too many the first is given up.
        """
        awaited = client.replaced
        if len(awaited) >= _MOST:
            self.miss(next(iter(awaited.values())))
        replaced = client.opened.replaced[key] = Replaced(client, key)
        self._deadlines.schedule(until, replaced, ahead=ahead)

    def arrived(self, event: Stamp, client: Client) -> None:
        """Take note of a disconnect, if one of a client's replaced connections awaits it."""
        for replaced in client.replaced.values():
            if same_connection(event, replaced):
                self._deadlines.cancel(replaced)
                self._counts.observe_session(event.timestamp - replaced.timestamp)
                _drop(replaced)
                return

    def miss(self, replaced: Replaced) -> None:
        """Count a disconnect as one that does not come any more."""
        self._deadlines.cancel(replaced)
        self._counts.missed["disconnected"] += 1
        _drop(replaced)

    def forget(self, client: Client) -> None:
        """Await nothing more of a client."""
        for replaced in client.replaced.values():
            self._deadlines.cancel(replaced)
        if client.loose_ends is not None:
            client.loose_ends.replaced.clear()
            client.tidy()


def _drop(replaced: Replaced) -> None:
    client = replaced.client
    client.opened.replaced.pop(replaced.key, None)
    client.tidy()
