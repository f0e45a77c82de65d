"""Text of the per-client series, rendered when a client changes and joined at scrape."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from presenced.fleet import Description
from presenced.log import get_logger
from presenced.metrics.catalog import PER_CLIENT
from presenced.metrics.labels import RESERVED, label_names, label_text
from presenced.presence import Client, State

__all__ = ["ClientSeries"]

_MOST_WAITING = 10_000


def _nothing(_: Client) -> Description:
    return Description("", {})


class ClientSeries:
    """The samples of every client that has series of its own.

    At most `max_clients` clients have; of the others those that changed last wait, and take the
    places of those that are forgotten. `pattern`'s named groups become labels. `describe` tells
    what the registry says of a client, and `attributes` which attributes of things become labels
    of `iot_client_info`. `enabled` False keeps no series at all.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        max_clients: int = 20_000,
        pattern: re.Pattern[str] | None = None,
        attributes: Sequence[str] = (),
        describe: Callable[[Client], Description] = _nothing,
    ) -> None:
        self._enabled = enabled
        self._max_clients = max_clients
        self._pattern = pattern
        groups = pattern.groupindex if pattern else ()
        names = label_names(attributes, RESERVED.union(groups))
        self._attributes = {attribute: names[attribute] for attribute in attributes}
        self._describe = describe
        self._labels: dict[str, str] = {}
        self._connected: dict[str, str] = {}
        self._transitions: dict[str, str] = {}
        self._info: dict[str, str] = {}
        self._waiting: OrderedDict[str, Client] = OrderedDict()
        self._text: str | None = None
        self._log = get_logger("presenced.metrics")

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
            if not self._enabled:
                return False
            if len(self._labels) >= self._max_clients:
                self._wait(client)
                return False
            self._waiting.pop(client_id, None)
            labels = self._labels[client_id] = self._render_labels(client_id)
            self._render_info(client, labels)
        online = client.state in (State.ONLINE, State.PENDING)
        connected, transition, _ = PER_CLIENT
        self._connected[client_id] = f"{connected}{{{labels}}} {int(online)}\n"
        self._transitions[client_id] = f"{transition}{{{labels}}} {client.transition!r}\n"
        self._text = None
        return True

    def describe(self, client: Client) -> None:
        """Render anew what the registry says of a client, if it has series of its own."""
        labels = self._labels.get(client.client_id)
        if labels is not None:
            self._render_info(client, labels)
            self._text = None

    def drop(self, client: Client) -> None:
        """Take a client's series away, and give its place to one that waits."""
        self._waiting.pop(client.client_id, None)
        if self._labels.pop(client.client_id, None) is None:
            return
        for samples in (self._connected, self._transitions, self._info):
            del samples[client.client_id]
        self._text = None
        if self._waiting and len(self._labels) < self._max_clients:
            _, waiting = self._waiting.popitem()
            self.show(waiting)

    def render(self) -> str:
        """Exposition text of all per-client series; the same in both formats."""
        if self._text is None:
            self._text = "".join(self._families()) if self._enabled else ""
        return self._text

    def _wait(self, client: Client) -> None:
        if not self._waiting:
            self._log.warning(
                "no more clients get series of their own; totals still count them",
                key="metrics.max_clients",
                value=self._max_clients,
            )
        self._waiting[client.client_id] = client
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)

    def _families(self) -> Iterable[str]:
        for metric, samples in zip(
            PER_CLIENT.values(), (self._connected, self._transitions, self._info), strict=True
        ):
            yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
            yield from samples.values()

    def _render_info(self, client: Client, labels: str) -> None:
        description = self._describe(client)
        registry = {"thing_type": description.thing_type} | {
            label: description.attributes.get(attribute) or ""
            for attribute, label in self._attributes.items()
        }
        self._info[client.client_id] = f"iot_client_info{{{labels},{label_text(registry)}}} 1\n"

    def _render_labels(self, client_id: str) -> str:
        labels = {"client_id": client_id}
        match = self._pattern.search(client_id) if self._pattern else None
        if match:
            labels |= {name: value for name, value in match.groupdict().items() if value}
        return label_text(labels)
