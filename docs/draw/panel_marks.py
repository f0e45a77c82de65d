"""Shapes, colours and numbers of the dashboard pictures, as SVG."""

from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

PALETTE = ("#3274d9", "#e0752d", "#7eb26d", "#a352cc", "#508642", "#c15c17", "#1f78c1", "#b877d9")
NAMED = {
    "green": "#3f9142",
    "yellow": "#e0a526",
    "orange": "#e0752d",
    "red": "#c4402f",
    "text": "#444",
}
SECONDS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))
SUFFIXES = {"cpm": "/min", "mps": "/s", "eps": "/s", "cps": "/s"}
LARGE = 10.0


class Box:
    """A rectangle of the picture, in pixels."""

    def __init__(self, left: float, top: float, width: float, height: float) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.right, self.bottom = left + width, top + height

    def inside(self, left: float, top: float, right: float, bottom: float) -> "Box":
        """Return the box without margins of these widths."""
        width, height = self.width - left - right, self.height - top - bottom
        return Box(self.left + left, self.top + top, width, height)


def colour(name: str | int) -> str:
    """Return a colour by its Grafana name, or that of the series with this number."""
    return PALETTE[name % len(PALETTE)] if isinstance(name, int) else NAMED[name]


def colour_of_value(value: float, defaults: Mapping[str, Any]) -> str:
    """Return the colour of the threshold that a value has reached."""
    reached = [
        step["color"]
        for step in defaults["thresholds"]["steps"]
        if step["value"] is None or value >= step["value"]
    ]
    return colour(reached[-1])


def number(value: float, unit: str, now: float) -> str:
    """Format a value with its unit; times are relative to `now`."""
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    if unit == "dateTimeFromNow":
        return f"{number(now - value / 1000, 's', now)} ago"
    if unit == "dateTimeAsIso":
        return f"{number(now - value / 1000, 's', now)} before now"
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    if unit == "s":
        size, name = next(((s, n) for s, n in SECONDS if abs(value) >= s), (1, "s"))
        return f"{_short(value / size)} {name}"
    return _short(value) + SUFFIXES.get(unit, "")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= LARGE or value == int(value) else f"{value:.1f}"


def text(x: float, y: float, words: str, *, size: int = 11, more: str = "") -> str:
    """Return a line of text; `more` are further attributes."""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" {more}>{escape(words)}</text>'


def rect(box: Box, fill: str, more: str = "") -> str:
    """Return a filled rectangle."""
    return (
        f'<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{max(box.width, 0):.1f}" '
        f'height="{max(box.height, 0):.1f}" fill="{fill}" {more}/>'
    )


def polyline(points: Iterable[tuple[float, float]], stroke: str) -> str:
    """Return a line through points."""
    return f'<polyline fill="none" stroke="{stroke}" stroke-width="1.5" points="{_list(points)}"/>'


def polygon(points: Iterable[tuple[float, float]], fill: str) -> str:
    """Return a filled area."""
    return f'<polygon fill="{fill}" fill-opacity="0.75" points="{_list(points)}"/>'


def _list(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
