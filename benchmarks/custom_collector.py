"""The series of so many clients from a custom collector of prometheus_client.

`python -m benchmarks.custom_collector CLIENTS PORT`: what a program does that makes its metrics
when it is asked for them, as the library's documentation shows ("Custom Collectors").
"""

import sys
import threading
import time
from collections.abc import Iterator

from prometheus_client import start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from benchmarks.events import client_id
from presenced.metrics.catalog import PER_CLIENT

LABELS = {"iot_client_info": ("client_id", "thing_type")}


class ClientsCollector(Collector):
    """Each of the per-client series of presenced, for clients that are all online."""

    def __init__(self, clients: int) -> None:
        now = time.time()
        self._clients = {client_id(number): now + number / 1000 for number in range(clients)}

    def collect(self) -> Iterator[Metric]:
        """The families, with a sample of each client."""
        for metric in PER_CLIENT.values():
            labels = LABELS.get(metric.name, ("client_id",))
            family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
            blanks = [""] * (len(labels) - 1)
            timed = metric.name.endswith("_timestamp_seconds")
            for name, since in self._clients.items():
                family.add_metric([name, *blanks], since if timed else 1)
            yield family


def main() -> None:
    """Serve until ended."""
    clients, port = map(int, sys.argv[1:])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ClientsCollector(clients))
    start_http_server(port, "127.0.0.1", registry=registry)
    threading.Event().wait()


if __name__ == "__main__":
    main()
