"""Draw the pictures of docs/explanation/concepts.md: `python docs/draw/draw_concepts.py`."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from concept_scenes import PICTURES, Scene, Span, evaluate

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, LEFT, RIGHT = 760, 132, 18
BAR, LANE, LINE = 20, 34, 15
COLOURS = {
    "online": "#2e8b57",
    "pending": "#e0a526",
    "offline": "#b5473c",
    "unverified": "#7fb898",
    "unknown": "#b9bec4",
}
DARK_TEXT = {"pending", "unverified", "unknown"}
REMARKS = {
    "duplicate": "duplicate, ignored",
    "stale": "stale, ignored",
    "later_after_reset": "later: a reset",
}


def draw(scenes: Sequence[Scene]) -> str:
    """Draw scenes one below the other, on a white background for dark pages."""
    parts: list[str] = []
    top = 14.0
    for scene in scenes:
        drawing = _Drawing(scene, top)
        parts += drawing.parts()
        top = drawing.bottom + 20
    titles = ". ".join(scene.title for scene in scenes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" '
        'font-family="sans-serif" font-size="12" fill="#1f2328" role="img">\n'
        f"<title>{escape(titles)}</title>\n"
        f'<rect width="{WIDTH}" height="{top:.0f}" rx="6" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


class _Drawing:
    """One scene, in lanes from `top` to `bottom`."""

    def __init__(self, scene: Scene, top: float) -> None:
        self._scene = scene
        self._spans, self._orderings = evaluate(scene)
        rows = 1 + max(span.row for span in scene.connections)
        self._title = top + 8
        self._device = self._title + 16
        self._link = self._device + rows * (BAR + 4) + 14
        self._arrival = self._link + (LANE if scene.link else 0) + 16
        lines = 2 if REMARKS.keys() & self._orderings.values() else 1
        self._naive = self._arrival + 18 + LINE * lines
        self._result = self._naive + (LANE if scene.naive else 0)
        self.bottom = self._result + BAR + 22

    def parts(self) -> Iterator[str]:
        """Return the SVG elements of the scene."""
        scene = self._scene
        yield _text(14, self._title + 4, scene.title, weight="bold")
        yield from self._grid()
        yield _text(14, self._device + 14, "device")
        for span in scene.connections:
            yield from self._bar(self._device + span.row * (BAR + 4), span, "#4b6a9b")
        if scene.link:
            yield _text(14, self._link + 14, "presenced's MQTT")
            for span in scene.link:
                yield from self._bar(self._link, span, "#8a929b")
        yield from self._messages()
        if scene.naive:
            yield _text(14, self._naive + 14, "last message")
            yield from self._states(self._naive, list(self._last_message_counts()))
        yield _text(14, self._result + 14, "presenced", weight="bold")
        yield from self._states(self._result, self._spans)

    def _x(self, at: float) -> float:
        return round(LEFT + at * (WIDTH - LEFT - RIGHT) / self._scene.length, 1)

    def _grid(self) -> Iterator[str]:
        size = {"s": 1.0, "min": 60.0, "h": 3600.0}[self._scene.unit]
        for number in range(int(self._scene.length / self._scene.tick) + 1):
            at = number * self._scene.tick
            x = self._x(at)
            low = self._result + BAR + 4
            yield f'<path d="M{x} {self._device - 4:.0f}V{low:.0f}" stroke="#e3e6e9"/>'
            label = f"{at / size:g} {self._scene.unit}"
            yield _text(x, self.bottom, label, anchor="middle", size=10, colour="#59636e")

    def _bar(self, y: float, span: Span, colour: str, ink: str = "#fff") -> Iterator[str]:
        x, width = self._x(span.start), self._x(span.end) - self._x(span.start)
        place = f'x="{x}" y="{y:.0f}" width="{width:.1f}" height="{BAR}"'
        yield f'<rect {place} rx="3" fill="{colour}"/>'
        last_word = span.label.rpartition(" ")[2]
        fitting = [text for text in (span.label, last_word) if 7 * len(text) + 8 < width]
        if fitting:
            yield _text(x + width / 2, y + 14, fitting[0], anchor="middle", colour=ink)

    def _states(self, y: float, spans: Sequence[Span]) -> Iterator[str]:
        for span in spans:
            ink = "#1f2328" if span.label in DARK_TEXT else "#fff"
            yield from self._bar(y, span, COLOURS[span.label], ink)

    def _messages(self) -> Iterator[str]:
        """Draw each message from its event to its arrival, with its ordering."""
        yield _text(14, self._arrival + 4, "messages")
        yield f'<path d="M{LEFT} {self._arrival:.0f}H{WIDTH - RIGHT}" stroke="#59636e"/>'
        for message in self._scene.messages:
            remark = REMARKS.get(self._orderings[message])
            ignored = remark is not None and "ignored" in remark
            colour = "#8a929b" if ignored else "#1f2328"
            start, end = self._x(message.happened), self._x(message.arrived)
            low = self._device + message.row * (BAR + 4) + BAR
            way = f"M{start} {low:.0f}L{end} {self._arrival:.0f}"
            dashes = ' stroke-dasharray="4 3"' if ignored else ""
            yield f'<path d="{way}" stroke="{colour}"{dashes}/>'
            fill = colour if message.connected else "#fff"
            yield (
                f'<circle cx="{end}" cy="{self._arrival:.0f}" r="4.5" fill="{fill}" '
                f'stroke="{colour}" stroke-width="1.5"/>'
            )
            y = self._arrival + 18
            kind = "connect" if message.connected else "disconnect"
            yield _text(end, y, f"{kind} {message.version}", anchor="middle", colour=colour)
            if remark is not None:
                yield _text(end, y + 13, remark, anchor="middle", size=11, colour="#59636e")

    def _last_message_counts(self) -> Iterator[Span]:
        messages = sorted(self._scene.messages, key=lambda each: each.arrived)
        begun, state = 0.0, "unknown"
        for each in messages:
            after = "online" if each.connected else "offline"
            if after != state:
                yield Span(begun, each.arrived, state)
                begun, state = each.arrived, after
        yield Span(begun, self._scene.length, state)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "",
    size: int = 0,
    colour: str = "",
    weight: str = "",
) -> str:
    given = {"text-anchor": anchor, "font-size": size, "fill": colour, "font-weight": weight}
    more = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    return f'<text x="{x:g}" y="{y:.0f}"{more}>{escape(text)}</text>'


def main() -> None:
    """Write all pictures to docs/images/."""
    for name, scenes in PICTURES.items():
        (IMAGES / name).write_text(draw(scenes))


if __name__ == "__main__":
    main()
