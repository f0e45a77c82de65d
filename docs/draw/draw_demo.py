"""Draw docs/images/demo.svg: `python docs/draw/draw_demo.py > docs/images/demo.svg`."""

import re
import subprocess
import sys

DURATION, DEVICES, SEED, LISTEN = 120, 50, 11, "127.0.0.1:9983"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 300, 44, 56, 16, 36
LINE = re.compile(r"online +(\d+) +pending +(\d+) +offline +(\d+) \| broker: connected +(\d+)")
COLOURS = {"online": "#2e8b57", "pending": "#e0a526", "offline": "#b5473c"}

Sample = tuple[int, int, int, int]


def samples() -> list[Sample]:
    """Run the demo and return online, pending, offline and broker connections over time."""
    command = [sys.executable, "-m", "presenced", "demo", "--listen", LISTEN]
    options = ["--devices", str(DEVICES), "--duration", f"{DURATION}s", "--seed", str(SEED)]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found = (LINE.search(line) for line in done.stdout.splitlines())
    return [
        (int(match[1]), int(match[2]), int(match[3]), int(match[4])) for match in found if match
    ]


def draw(data: list[Sample]) -> str:
    """Draw the states as stacked areas, and the connections of the broker as dots."""

    def x(index: float) -> float:
        return round(LEFT + index * (WIDTH - LEFT - RIGHT) / (len(data) - 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM) / DEVICES, 1)

    parts = []
    floor = [0] * len(data)
    for place, (state, colour) in enumerate(COLOURS.items()):
        top = [low + sample[place] for low, sample in zip(floor, data, strict=True)]
        upper = [f"{x(i)},{y(value)}" for i, value in enumerate(top)]
        lower = [f"{x(i)},{y(value)}" for i, value in reversed(list(enumerate(floor)))]
        parts.append(f'<polygon fill="{colour}" points="{" ".join(upper + lower)}"/>')
        parts.append(_legend(place, colour, state))
        floor = top
    dots = (
        f'<circle cx="{x(i)}" cy="{y(s[3])}" r="2.4" fill="#fff" stroke="#222"/>'
        for i, s in enumerate(data)
    )
    parts += [*dots, _legend(3, "#fff", "connected, according to the broker")]
    for value in range(0, DEVICES + 1, 10):
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value}</text>')
    for seconds in range(0, DURATION + 1, 30):
        place = x(seconds * (len(data) - 1) / DURATION)
        parts.append(f'<text x="{place}" y="{HEIGHT - 12}" text-anchor="middle">{seconds} s</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _legend(place: int, colour: str, text: str) -> str:
    left = LEFT + place * 120
    return (
        f'<rect x="{left}" y="18" width="12" height="12" fill="{colour}" stroke="#222"/>'
        f'<text x="{left + 18}" y="28">{text}</text>'
    )


if __name__ == "__main__":
    sys.stdout.write(draw(samples()))
