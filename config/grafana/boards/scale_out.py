"""The dashboard Scale-out: the workers of a Kafka group, their partitions and transactions."""

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards.frame import board, in_runbook
from boards.parts import GOOD_IF_NONE, lines, number, query, table_of, timeline
from boards.queries import CHOSEN, merged, of, rate, seen

_NO_KAFKA = "No worker answers, or another source than Kafka"
_OWNED = {"1": ("has an owner", "green"), "0": ("without owner", "red")}
_OF_TRANSACTIONS = 'cause=~"aborted|fenced|replaced",'


def dashboard() -> Dashboard:
    """Build the dashboard; it does not require the series of each client."""
    made = board(
        "presenced-scale-out",
        "Scale-out",
        "Workers of a Kafka group: partitions and their owners, lag, hand-overs, transactions.",
        span="6h",
    )
    _now(made)
    _partitions(made)
    _lag(made)
    _transactions(made)
    return made.build()


def _now(made: building.Dashboard) -> None:
    owned = merged(of("presenced_partition_owned"))
    worker = of("presenced_partition_owned")
    not_ready = f"{of('presenced_ready')} == 0 and ignoring (partition) {worker}"
    down = f'up{{job=~"presenced.*",{CHOSEN}}} == 0'
    # No data without a worker that answers: a green 0 would be wrong.
    none = f"0 * count({worker})"
    for title, description, expression in (
        (
            "Workers that are not ready",
            "Workers that do not answer, are not in the group, or have not caught up.",
            f"count({not_ready} or {down}) or {none}",
        ),
        (
            "Partitions without owner",
            "Partitions that no scraped worker owns: presence of their devices is not observed.",
            f"count({owned} == 0) or {none}",
        ),
        (
            "Partitions not shown",
            "Partitions whose owner restores their state or catches up.",
            f"count({owned} == 1 unless {_shown()}) or {none}",
        ),
        (
            "Records behind",
            "Records of all partitions that are not applied yet.",
            f"sum({merged(of('presenced_kafka_lag_messages'))})",
        ),
    ):
        panel = number(title, description, expression, steps=GOOD_IF_NONE)
        made.with_panel(panel.no_value(_NO_KAFKA).span(6))


def _shown() -> str:
    return f"max without (instance, state) ({of('iot_clients')})"


def _partitions(made: building.Dashboard) -> None:
    owned = of("presenced_partition_owned")
    made.with_panel(
        timeline(
            "Partitions",
            "When each partition of the Kafka topic had an owner among the workers.",
            _OWNED,
            query(merged(owned), "{{partition}}"),
        )
        .no_value(_NO_KAFKA)
        .height(8)
    )
    made.with_panel(
        lines(
            "Partitions of each worker",
            "A worker that stops hands its partitions to the others.",
            "short",
            query(f"sum by (instance) ({owned})", "{{instance}}"),
        ).no_value(_NO_KAFKA)
    )
    made.with_panel(
        lines(
            "Hand-overs",
            "Partitions that came to each worker or left it. Each has no series until its next "
            "owner has restored it.",
            "short",
            query(f"sum by (instance) (changes({owned}[$__rate_interval]))", "{{instance}}"),
        ).no_value(_NO_KAFKA)
    )
    made.with_panel(
        table_of(
            "Clients of each partition",
            "Clients that the owner of each partition shows. "
            + in_runbook("PresencedPartitionWithoutOwner"),
            "short",
            f"sum by (partition) (max without (instance) ({_with_partition('iot_clients')}))",
            ("partition", "Partition"),
        ).no_value(_NO_KAFKA)
    )


def _with_partition(metric: str) -> str:
    return of(metric).replace("{", '{partition!="",')


def _lag(made: building.Dashboard) -> None:
    made.with_panel(
        lines(
            "Records behind the end of the partition",
            "The ten partitions with the largest lag.",
            "short",
            query(f"topk(10, {merged(of('presenced_kafka_lag_messages'))})", "{{partition}}"),
        ).no_value(_NO_KAFKA)
    )
    made.with_panel(
        lines(
            "Records in the wrong partition",
            "Events whose key belongs to another partition: the IoT rule sets another key.",
            "short",
            query(
                f"sum by (instance) "
                f"(increase({of('presenced_records_misplaced_total')}[$__rate_interval]))",
                "{{instance}}",
            ),
        ).no_value(_NO_KAFKA)
    )


def _transactions(made: building.Dashboard) -> None:
    commits = "presenced_state_commits_total"
    made.with_panel(
        lines(
            "Transactions per second",
            "Committed transactions, and those that were aborted or whose worker was fenced: "
            "another one had its partitions.",
            "cps",
            query(rate(commits), "{{instance}} committed"),
            query(
                seen(
                    "presenced_state_commit_failures_total",
                    "instance, cause",
                    more=_OF_TRANSACTIONS,
                ),
                "{{instance}} {{cause}}",
            ),
        )
    )
    buckets = f"sum by (instance, le) ({rate('presenced_state_commit_duration_seconds_bucket')})"
    made.with_panel(
        lines(
            "Duration of transactions",
            "Time of a transaction in all, p50 and p99.",
            "s",
            query(f"histogram_quantile(0.5, {buckets})", "{{instance}} p50"),
            query(f"histogram_quantile(0.99, {buckets})", "{{instance}} p99"),
        )
    )
