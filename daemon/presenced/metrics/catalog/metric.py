"""What is known of a metric."""

from typing import Literal, NamedTuple

__all__ = ["Metric"]


class Metric(NamedTuple):
    """A metric as Prometheus knows it; `name` is that of its samples.

    `query` is an example of what to ask of it, in PromQL.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str
    query: str
