"""Draw one dashboard panel: lines, heat maps, bars, single numbers and state timelines."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from panel_data import Series, Source
from panel_marks import (
    Box,
    colour,
    colour_of_value,
    number,
    polygon,
    polyline,
    rect,
    text,
)

Panel = Mapping[str, Any]
Named = list[tuple[str, Series]]

GREY = "#777"
LINES = 3
LEGEND_LINE = 13


def name_of(series: Series, legend: str) -> str:
    """Return the name of a series according to its legend, such as `{{connection}}`."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: series.labels.get(match[1], ""), legend).strip()


def answers(panel: Panel, source: Source) -> Named:
    """Return the series of all queries of a panel over time, with their names."""
    return [
        (name_of(series, target.get("legendFormat", "")), series)
        for target in panel["targets"]
        for series in source.over_time(target["expr"])
    ]


def stat(panel: Panel, box: Box, source: Source) -> Iterator[str]:
    """Draw one number, or the word that its mapping gives."""
    found = source.instant(panel["targets"][0]["expr"])
    defaults = panel["fieldConfig"]["defaults"]
    if not found:
        yield text(box.left, box.top + 30, "No data", size=20)
        return
    value = found[0].last
    word = _meaning(panel).get(f"{value:g}")
    shown, ink = (
        (word["text"], colour(word["color"]))
        if word
        else (number(value, defaults["unit"], source.end), colour_of_value(value, defaults))
    )
    yield text(box.left, box.top + 42, shown, size=26, more=f'fill="{ink}" font-weight="bold"')


def lines(panel: Panel, box: Box, source: Source) -> Iterator[str]:
    """Draw lines over time, or stacked areas."""
    found = answers(panel, source)
    defaults = panel["fieldConfig"]["defaults"]
    inks = [_ink(panel, name, place) for place, (name, _) in enumerate(found)]
    legend = list(_legend(box, [(name, ink) for (name, _), ink in zip(found, inks, strict=True)]))
    plot = box.inside(52, 6, 6, 20 + LEGEND_LINE * (_legend_lines(box, found)))
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    layers = _stack([series for _, series in found]) if stacked else None
    tops = layers or [dict(series.points) for _, series in found]
    low, top = _range(defaults, [value for layer in tops for value in layer.values()])
    yield from _axes(plot, low, top, defaults["unit"], source)
    if not found:
        middle = plot.left + plot.width / 2
        yield text(middle, plot.top + plot.height / 2, "No data", more='text-anchor="middle"')

    def place(at: float, value: float) -> tuple[float, float]:
        x = plot.right - (source.end - at) / source.span * plot.width
        return x, plot.bottom - (value - low) / (top - low) * plot.height

    floor: dict[float, float] = {}
    for layer, ink in zip(tops, inks, strict=True):
        if stacked:
            lower = [place(at, floor.get(at, 0.0)) for at in sorted(layer, reverse=True)]
            yield polygon([place(at, layer[at]) for at in sorted(layer)] + lower, ink)
            floor = layer
        else:
            yield polyline((place(at, layer[at]) for at in sorted(layer)), ink)
    yield from legend


def heat(panel: Panel, box: Box, source: Source) -> Iterator[str]:
    """Draw histogram buckets over time; darker cells have more observations."""
    found = sorted(
        source.over_time(panel["targets"][0]["expr"]), key=lambda s: float(s.labels["le"])
    )
    plot = box.inside(52, 6, 6, 20)
    counts = [dict(series.points) for series in found]
    cells = [
        {at: counts[row][at] - (counts[row - 1].get(at, 0.0) if row else 0.0) for at in counts[row]}
        for row in range(len(counts))
    ]
    used = [row for row, each in enumerate(cells) if max(each.values(), default=0) > 0]
    rows = range(used[0], used[-1] + 1) if used else range(0)
    largest = max((value for row in rows for value in cells[row].values()), default=1.0)
    height = plot.height / max(len(rows), 1)
    width = plot.width / 60
    for index, row in enumerate(rows):
        y = plot.bottom - (index + 1) * height
        bound = float(found[row].labels["le"])
        label = number(bound, "s", source.end) if bound != float("inf") else "more"
        yield text(plot.left - 6, y + height / 2 + 4, label, more='text-anchor="end"')
        for at, value in cells[row].items():
            if value > 0:
                x = plot.right - (source.end - at) / source.span * plot.width - width
                x = max(x, plot.left)
                ink = f'fill-opacity="{0.15 + 0.85 * value / largest:.2f}"'
                yield rect(Box(x, y, width - 0.5, height - 1), colour("orange"), ink)
    yield from _times(plot, source)


def bars(panel: Panel, box: Box, source: Source) -> Iterator[str]:
    """Draw a bar for each series."""
    target, defaults = panel["targets"][0], panel["fieldConfig"]["defaults"]
    found = source.instant(target["expr"])
    height = min(box.height / max(len(found), 1), 30)
    for place, series in enumerate(found):
        row = Box(box.left + 100, box.top + place * height, box.width - 170, height - 5)
        ink = colour_of_value(series.last, defaults)
        middle = row.top + row.height / 2 + 4
        yield text(row.left - 8, middle, name_of(series, target["legendFormat"]), more=END)
        yield rect(row, "#eee")
        filled = Box(row.left, row.top, row.width * series.last / defaults["max"], row.height)
        yield rect(filled, ink)
        yield text(row.right + 8, middle, number(series.last, defaults["unit"], source.end))


def timeline(panel: Panel, box: Box, source: Source) -> Iterator[str]:
    """Draw a band for each series, coloured by its value."""
    found = answers(panel, source)
    meaning = _meaning(panel)
    yield from _legend(box, [(each["text"], colour(each["color"])) for each in meaning.values()])
    names = plot = box.inside(8, 4, 6, 34)
    height = plot.height / max(len(found), 1)
    above = 17  # room for the name
    if height < 2 * above:  # beside the band, then
        above, plot = 0, box.inside(32, 4, 6, 34)
    width = plot.width / 60
    for place, (name, series) in enumerate(found):
        top = plot.top + place * height
        yield text(names.left, top + 12 - (0 if above else 3), name)
        for value, run in groupby(series.points, key=lambda point: point[1]):
            times = [at for at, _ in run]
            left, right = (
                plot.right - (source.end - at) / source.span * plot.width
                for at in (times[0], times[-1])
            )
            left = max(left - width, plot.left)
            ink = colour(meaning[f"{value:g}"]["color"])
            yield rect(Box(left, top + above, right - left, height - above - 2), ink)
    yield from _times(plot, source)


END = 'text-anchor="end"'


def _meaning(panel: Panel) -> Mapping[str, Any]:
    mappings = panel["fieldConfig"]["defaults"].get("mappings", [])
    return mappings[0]["options"] if mappings else {}


def _ink(panel: Panel, name: str, place: int) -> str:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byName", "options": name}:
            return colour(override["properties"][0]["value"]["fixedColor"])
    return colour(place)


def _stack(found: list[Series]) -> list[dict[float, float]]:
    layers: list[dict[float, float]] = []
    floor: dict[float, float] = {}
    for series in found:
        floor = {**floor, **{at: floor.get(at, 0.0) + value for at, value in series.points}}
        layers.append(floor)
    return layers


def _round_up(value: float) -> float:
    """Return the next number that gives readable axis labels."""
    if value <= 0:
        return 1.0
    size = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 0.1
    while size > value:
        size /= 10
    return next(step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * size >= value)


def _range(defaults: Mapping[str, Any], values: list[float]) -> tuple[float, float]:
    """Return where the axis begins and ends: at 0, or for shares where Grafana has them begin."""
    if "min" in defaults:
        return 0.0, _round_up(max(values, default=1.0))
    return min([defaults["custom"]["axisSoftMin"], *values]), defaults["max"]


def _axes(plot: Box, low: float, top: float, unit: str, source: Source) -> Iterator[str]:
    for step in range(LINES + 1):
        y = plot.bottom - step * plot.height / LINES
        yield rect(Box(plot.left, y, plot.width, 0.6), "#ddd")
        yield text(
            plot.left - 6,
            y + 4,
            number(low + (top - low) * step / LINES, unit, source.end),
            more=END,
        )
    yield from _times(plot, source)


def _times(plot: Box, source: Source) -> Iterator[str]:
    for part in range(4):
        ago = source.span * (1 - part / 3)
        words = f"-{ago / 60:.0f} min" if ago else "now"
        anchor = 'text-anchor="start"' if not part else 'text-anchor="middle"' if ago else END
        x = plot.left + plot.width * part / 3
        yield text(x, plot.bottom + 14, words, more=f'{anchor} fill="{GREY}"')


def _places(box: Box, names: list[str]) -> list[tuple[float, int]]:
    """Return the position of each name of a legend: x and line number."""
    places, x, line = [], 0.0, 0
    for name in names:
        width = 24 + sum(8.0 if letter.isupper() else 6.2 for letter in name)
        if x + width > box.width and x:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += width
    return places


def _legend_lines(box: Box, found: Named) -> int:
    places = _places(box, [name for name, _ in found])
    return places[-1][1] + 1 if places else 0


def _legend(box: Box, entries: list[tuple[str, str]]) -> Iterator[str]:
    places = _places(box, [name for name, _ in entries])
    last = places[-1][1] if places else 0
    for (name, ink), (x, line) in zip(entries, places, strict=True):
        y = box.bottom - LEGEND_LINE * (last - line) - 2
        yield rect(Box(box.left + x, y - 8, 10, 9), ink)
        yield text(box.left + x + 14, y, name)
