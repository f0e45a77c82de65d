"""Text of the per-client series, rendered when a client changes and joined at scrape."""

import re
from collections.abc import Iterable

from presenced.metrics.catalog import PER_CLIENT
from presenced.presence import Client, State

__all__ = ["ClientSeries"]

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


class ClientSeries:
    """The samples of every client that has series of its own.

    At most `max_clients` clients have; the others are only counted, and take the places of those
    that are forgotten when they next change. `pattern`'s named groups become labels. `enabled`
    False keeps no series at all.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        max_clients: int = 20_000,
        pattern: re.Pattern[str] | None = None,
    ) -> None:
        self._enabled = enabled
        self._max_clients = max_clients
        self._pattern = pattern
        self._labels: dict[str, str] = {}
        self._connected: dict[str, str] = {}
        self._transitions: dict[str, str] = {}
        self._text: str | None = None

    @property
    def shown(self) -> int:
        """Clients that have series of their own."""
        return len(self._labels)

    @property
    def enabled(self) -> bool:
        """Whether clients have series of their own at all."""
        return self._enabled

    def show(self, client: Client) -> bool:
        """Render a client anew; False where there is no room for it."""
        client_id = client.client_id
        labels = self._labels.get(client_id)
        if labels is None:
            if not self._enabled or len(self._labels) >= self._max_clients:
                return False
            labels = self._labels[client_id] = self._render_labels(client_id)
        online = client.state in (State.ONLINE, State.PENDING)
        connected, transition = PER_CLIENT
        self._connected[client_id] = f"{connected}{labels} {int(online)}\n"
        self._transitions[client_id] = f"{transition}{labels} {client.transition!r}\n"
        self._text = None
        return True

    def drop(self, client: Client) -> None:
        """Take a client's series away."""
        if self._labels.pop(client.client_id, None) is not None:
            del self._connected[client.client_id]
            del self._transitions[client.client_id]
            self._text = None

    def render(self) -> str:
        """Exposition text of all per-client series; the same in both formats."""
        if self._text is None:
            self._text = "".join(self._families()) if self._enabled else ""
        return self._text

    def _families(self) -> Iterable[str]:
        for metric, samples in zip(
            PER_CLIENT.values(), (self._connected, self._transitions), strict=True
        ):
            yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
            yield from samples.values()

    def _render_labels(self, client_id: str) -> str:
        labels = {"client_id": client_id}
        match = self._pattern.search(client_id) if self._pattern else None
        if match:
            labels |= {name: value for name, value in match.groupdict().items() if value}
        text = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
        return "{" + text + "}"
