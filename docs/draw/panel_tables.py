"""Draw the table panels of the dashboards, with their transformations applied."""

from collections.abc import Iterator, Mapping
from typing import Any

from panel_data import Series, Source
from panel_marks import Box, number, rect, text

ROW = 16
HIDDEN = {"__name__", "job", "instance"}


def table(panel: Mapping[str, Any], box: Box, source: Source) -> Iterator[str]:
    """Draw as many rows as fit."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    targets = panel["targets"]
    if len(targets) > 1:
        head, rows = ("When", "State"), _transitions(targets, unit, source)
    elif unit == "none":
        head, rows = ("Label", "Value"), _labels(source.instant(targets[0]["expr"]))
    else:
        found = sorted(source.instant(targets[0]["expr"]), key=lambda s: s.last, reverse=True)
        label, heading = next(iter(_renamed(panel).items()))
        head = (heading, panel["title"])
        rows = [(s.labels[label], number(s.last, unit, source.end)) for s in found]
    if not rows:
        yield text(box.left, box.top + 20, panel["fieldConfig"]["defaults"].get("noValue", "-"))
        return
    for place, (left, right) in enumerate([head, *rows][: int(box.height / ROW)]):
        y = box.top + 12 + place * ROW
        weight = 'font-weight="bold"' if not place else ""
        yield text(box.left, y, left, more=weight)
        yield text(box.left + box.width / 2, y, right, more=weight)
        yield rect(Box(box.left, y + 4, box.width, 0.5), "#ddd")


def _renamed(panel: Mapping[str, Any]) -> dict[str, str]:
    """Return the headings of columns by the labels that they show."""
    (organized,) = (t for t in panel["transformations"] if t["id"] == "organize")
    renamed: dict[str, str] = organized["options"]["renameByName"]
    return renamed


def _labels(found: list[Series]) -> list[tuple[str, str]]:
    return [
        (label, value)
        for series in found
        for label, value in sorted(series.labels.items())
        if label not in HIDDEN
    ]


def _transitions(targets: Any, unit: str, source: Source) -> list[tuple[str, str]]:
    """Return the time of each transition and the state after it, latest first."""
    when, state = (source.over_time(target["expr"]) for target in targets)
    states = dict(state[0].points) if state else {}
    known = {value: states.get(at) for series in when for at, value in series.points}
    return [
        (number(value, unit, source.end), "online" if known[value] else "offline")
        for value in sorted(known, reverse=True)
    ]
