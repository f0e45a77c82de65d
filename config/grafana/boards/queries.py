"""What the queries of all dashboards have in common.

Queries select daemons with `CHOSEN`. Targets that differ only in `instance` are one fleet: a
high-availability pair (docs/how-to/high-availability.md) or the workers of a Kafka group
(docs/how-to/scale-out.md). `merged` merges them to one value for each partition, which a panel adds
up; without Kafka there are no partitions. `current` does so for numbers of clients; those of a
daemon that is not ready are out of date. `merged_client` merges the series of one client.
"""

CHOSEN = 'job=~"$job",instance=~"$instance"'
KNOWN = 'state!="unknown"'
ONLINE = 'state=~"online|pending"'


def merged(expression: str) -> str:
    """Merge the daemons of a fleet; with Kafka the label `partition` stays."""
    return f"max without (instance) ({expression})"


def current(expression: str, offset: str = "") -> str:
    """Merge the daemons of a fleet that are ready; if none is, all of them."""
    not_ready = f"{of('presenced_ready')}{offset} == 0"
    return (
        f"({merged(f'{expression} unless on (job, instance) {not_ready}')} or {merged(expression)})"
    )


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


def share_online(offset: str = "") -> str:
    """Return the share online of those with known presence; `offset` is one of PromQL."""

    def clients(states: str) -> str:
        counted = f"sum without (state) (iot_clients{{{states},{CHOSEN}}}{offset})"
        return f"sum({current(counted, offset)})"

    return f"{clients(ONLINE)} / {clients(KNOWN)}"


def readiness() -> str:
    """Return 1 for each daemon that is ready and 0 for one that is not, or does not answer."""
    down = f'up{{job=~"presenced.*",{CHOSEN}}} == 0'
    return f"{of('presenced_ready')} or 0 * ({down})"
