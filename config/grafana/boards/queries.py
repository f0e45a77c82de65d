"""What the queries of all dashboards have in common.

Queries select daemons with `CHOSEN`. Targets that differ only in `instance` are one fleet: a
high-availability pair (docs/how-to/high-availability.md) or the workers of a Kafka group
(docs/how-to/scale-out.md). `merged` merges them to one value for each partition, which a panel adds
up; without Kafka there are no partitions. `merged_client` merges the series of one client.
"""

CHOSEN = 'job=~"$job",instance=~"$instance"'
KNOWN = 'state!="unknown"'
ONLINE = 'state=~"online|pending"'


def merged(expression: str) -> str:
    """Merge the daemons of a fleet; with Kafka the label `partition` stays."""
    return f"max without (instance) ({expression})"


def merged_client(expression: str) -> str:
    """Merge the series of each client, which may have moved to another worker."""
    return f"max without (instance, partition) ({expression})"


def of(metric: str) -> str:
    """Select a metric of the chosen daemons."""
    return f"{metric}{{{CHOSEN}}}"


def rate(metric: str, more: str = "") -> str:
    """Return the rate of a counter; `more` are further matchers, each with a comma behind it."""
    return f"rate({metric}{{{more}{CHOSEN}}}[$__rate_interval])"


def seen(metric: str, labels: str, *, times: int = 1, more: str = "") -> str:
    """Return the rate by these labels, without series that did not rise in the selected time."""
    by_labels = f"sum by ({labels}) ({rate(metric, more)})" + (f" * {times}" if times > 1 else "")
    return f"{by_labels} and sum by ({labels}) (increase({metric}{{{more}{CHOSEN}}}[$__range])) > 0"


def _clients(states: str) -> str:
    return f"sum({merged(f'sum without (state) (iot_clients{{{states},{CHOSEN}}})')})"


SHARE_ONLINE = f"{_clients(ONLINE)} / {_clients(KNOWN)}"
