"""Query Prometheus for the data of dashboard panels."""

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

STEPS = 60


class PromQLError(Exception):
    """Prometheus refused a query; the message has its error and the query."""


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and its values by epoch seconds."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """Return the last value."""
        return self.points[-1][1]


class Source:
    """A Prometheus, queried as Grafana does: with `variables` and time macros replaced.

    Panels show the last `span` seconds; rates are taken over `rate_interval` seconds.
    """

    def __init__(
        self, url: str, *, span: int, rate_interval: int, variables: Mapping[str, str]
    ) -> None:
        self.end = time.time()
        self.span = span
        self._url = url
        self._values = {
            "$__rate_interval": f"{rate_interval}s",
            "$__range": f"{span}s",
            "$limit": "100",
            "$job": ".*",
            "$instance": ".*",
            **{f"${name}": value for name, value in variables.items()},
        }

    def instant(self, expression: str) -> list[Series]:
        """Return the present values that are numbers. Raises PromQLError."""
        result = self._ask("query", expression, time=self.end)
        if result["resultType"] == "scalar":
            return [Series({}, _points([result["result"]]))]
        found = (Series(each["metric"], _points([each["value"]])) for each in result["result"])
        return [series for series in found if series.points]

    def over_time(self, expression: str) -> list[Series]:
        """Return the values of the time shown. Raises PromQLError."""
        start, step = self.end - self.span, self.span / STEPS
        result = self._ask("query_range", expression, start=start, end=self.end, step=step)
        found = (Series(each["metric"], _points(each["values"])) for each in result["result"])
        return [series for series in found if series.points]

    def labels(self, query: str) -> list[str]:
        """Return the values of a variable, from its `label_values(SELECTOR, LABEL)`."""
        selector, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")
        asked = urllib.parse.urlencode({"match[]": self._filled(selector)})
        names: list[str] = self._get(f"label/{label}/values?{asked}", query)
        return names

    def _ask(self, endpoint: str, expression: str, **times: float) -> Any:
        asked = urllib.parse.urlencode({"query": self._filled(expression), **times})
        return self._get(f"{endpoint}?{asked}", expression)

    def _get(self, path: str, expression: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=30) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PromQLError(f"{json.load(error)['error']}: {expression}") from error

    def _filled(self, expression: str) -> str:
        for name, value in self._values.items():
            expression = expression.replace(name, value)
        return expression


def queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the title of each panel with each of its queries."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target


def _points(pairs: list[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(at, float(value)) for at, value in pairs if math.isfinite(float(value))]
