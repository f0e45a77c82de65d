"""The screen of `presenced top`, as lines of text that fit a width.

Colour never carries meaning alone. Client IDs and other foreign text cannot control the terminal.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from presenced.commands.top.daemon_api import Facts
from presenced.commands.top.overview import (
    Daemon,
    Minute,
    Offline,
    OfflineClient,
    Overview,
    Share,
)
from presenced.system.shares import percent

_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", ".:-=+*%#"
_SPAN = timedelta(hours=6)
_SMALLEST_RANGE = 0.01
_SHOWN_SHARES, _SHOWN_IF_NARROW = 5, 2
_SHOWN_DEVICES = 3
_SHOWN_FILTERS = 3
_LEAST_CLIENTS = 2
_LOW = 24
_SHOWN_CERTIFICATES = 4
_NARROWEST_COLUMN = 18
_LONGEST_TEXT = 400
_INDENT = "    "
_RECEIVING, _NOT_RECEIVING = "receiving", "not_receiving"
_WORDS = {
    _RECEIVING: "receiving events",
    "receiving_partly": "RECEIVING EVENTS, EXCEPT",
    "catching_up": "CATCHING UP",
    _NOT_RECEIVING: "NOT RECEIVING EVENTS",
}
_STATES = ("online", "pending", "offline", "unknown")


class Look(NamedTuple):
    """The terminal: its size in characters, whether it has colours, and characters beyond ASCII."""

    width: int
    height: int
    colours: bool = False
    unicode: bool = True

    def bold(self, text: str) -> str:
        """Return a text in bold."""
        return f"\x1b[1m{text}\x1b[0m" if self.colours else text

    def dim(self, text: str) -> str:
        """Return a text that is faint."""
        return f"\x1b[2m{text}\x1b[0m" if self.colours else text

    def alarm(self, text: str) -> str:
        """Return a text in bold red."""
        return f"\x1b[1;31m{text}\x1b[0m" if self.colours else text


def screen(facts: Facts, look: Look, *, notice: str = "") -> list[str]:
    """Return the lines of the screen, as many as fit; a notice comes first.

    A low terminal has no breakdown or trend, but always clients.
    """
    overview = facts.overview
    lines = [look.alarm(line) for line in wrapped(notice, look.width)]
    lines += _daemon_lines(overview.daemon, overview.time, look)
    if overview.partitions is not None:
        lines += wrapped(_partitions(overview.partitions.owned, overview.partitions.of), look.width)
    clients = 1 + min(len(facts.clients), _LEAST_CLIENTS)
    for fleet in (
        ["", *_fleet_lines(overview, look), "", *_offline_lines(overview.offline, look), ""],
        ["", *_fleet_lines(overview, look), ""],
        [*_fleet_lines(overview, look, trend=False)],
    ):
        if len(lines) + len(fleet) + clients <= look.height:
            break
    lines = [*lines, *fleet][: look.height - clients]
    room = look.height - len(lines) - 1
    return lines + _client_lines(facts.clients[:room], overview.time, look)


def _daemon_lines(daemon: Daemon, now: datetime, look: Look) -> Iterator[str]:
    words = _WORDS.get(daemon.state, daemon.state)
    if daemon.not_received:
        more = len(daemon.not_received) - _SHOWN_FILTERS
        others = f" and {more} more" if more > 0 else ""
        words += f" {', '.join(daemon.not_received[:_SHOWN_FILTERS])}{others}"
    since = f" since {moment(daemon.since, now)}" if daemon.since else ""
    paint = look.bold if daemon.state == _RECEIVING else look.alarm
    yield from map(paint, wrapped(f"presenced: {words}{since}", look.width))
    if daemon.text and daemon.state != _RECEIVING:
        for problem in daemon.text.splitlines():  # one for each connection
            yield from wrapped(f"  {problem}", look.width)
    for certificate in (daemon.certificates or ())[:_SHOWN_CERTIFICATES]:
        yield from map(look.alarm, wrapped(f"  {certificate.warning or ''}", look.width))
    for sentence in _meaning(daemon, is_low=look.height < _LOW):
        yield from wrapped(f"  {sentence}", look.width)
    if daemon.aws is not None:
        for problem in daemon.aws.problems[:3]:
            for line in wrapped(f"  AWS: {problem}", look.width):
                yield look.alarm(line)


def _meaning(daemon: Daemon, *, is_low: bool) -> Sequence[str]:
    """Return what the state of the daemon means for those of the clients, as far as that is news.

    A low terminal needs its lines for clients.
    """
    if daemon.state != _RECEIVING:
        return daemon.meaning[:1] if is_low else daemon.meaning
    if daemon.in_doubt == 0:
        return ()
    return [f"{daemon.in_doubt:,} in doubt"] if is_low else daemon.meaning


def _partitions(owned: Sequence[int], of: int | None) -> str:
    return f"  this worker has {len(owned)} of {of or '?'} partitions; the others have the rest"


def _fleet_lines(overview: Overview, look: Look, *, trend: bool = True) -> Iterator[str]:
    fleet, standout = overview.fleet, overview.offline.standout
    is_old = overview.daemon.state == _NOT_RECEIVING
    paint = look.dim if is_old else look.bold
    as_of = _as_of(overview) if is_old else ""
    pending = fleet.clients.get("pending", 0)
    of_these = f" (of these {pending:,} pending)" if pending else ""
    text = (
        f"online {_known(fleet.share_online)}{of_these}{as_of},"
        f" an hour ago {_known(fleet.hour_ago)}, a day ago {_known(fleet.day_ago)}"
    )
    yield from map(paint, wrapped(text, look.width))
    counts = [f"{fleet.clients.get(state, 0):,} {state}" for state in _STATES]
    counted = wrapped(f"  {', '.join(counts)}", look.width)
    yield from map(look.dim, counted) if is_old else counted
    if trend:
        yield from _trend_lines(_trend(overview), overview.time, look)
    if standout is not None:
        for line in wrapped(f"  {standout.text}", look.width):
            yield look.alarm(line)
    for device in overview.devices[:_SHOWN_DEVICES]:
        yield from map(look.bold, wrapped(f"  {device.text}", look.width))


def _as_of(overview: Overview) -> str:
    if (as_of := overview.daemon.as_of) is not None:
        return f" as of {moment(as_of, overview.time)}"
    if overview.fleet.share_online is None:
        return ""
    return f" from the state {'file' if overview.partitions is None else 'topic'}"


def _trend(overview: Overview) -> list[Minute]:
    """Return the trend of the last six hours, and the present if events are received."""
    fleet, now = overview.fleet, overview.time
    counts = [fleet.clients.get(state, 0) for state in ("online", "pending", "offline")]
    trend = [minute for minute in fleet.trend if timedelta() <= now - minute.at < _SPAN]
    return trend if overview.daemon.state == _NOT_RECEIVING else [*trend, Minute(now, *counts)]


def _trend_lines(trend: Sequence[Minute], now: datetime, look: Look) -> Iterator[str]:
    shares = [(minute.share, minute.at) for minute in trend if minute.share is not None]
    if len(shares) < 2:
        return
    lowest, at = min(shares)
    highest = max(shares)[0]
    bars = sparkline(trend, now, min(72, look.width - 4), unicode=look.unicode)
    yield clip(f"  {bars}", look.width)
    text = (
        f"  last {ago(now - trend[0].at)}: {percent(lowest)} to {percent(highest)}; lowest at"
        f" {moment(at, now)}"
    )
    yield from wrapped(text, look.width)


def sparkline(trend: Iterable[Minute], now: datetime, width: int, *, unicode: bool = True) -> str:
    """Return the share online over six hours as `width` bars, each the lowest of its time.

    `trend` may end now, and has nothing later.

    The lowest bar is the lowest share, but at least a percent below the highest. Times without
    figures are blank.
    """
    bars = _BARS if unicode else _ASCII_BARS
    lowest: list[float | None] = [None] * width
    for minute in trend:
        place = width - 1 - int((now - minute.at) / _SPAN * width)
        share = minute.share
        if share is not None and 0 <= place < width:
            before = lowest[place]
            lowest[place] = share if before is None else min(before, share)
    known = [share for share in lowest if share is not None]
    top = max(known, default=1.0)
    span = max(top - min(known, default=1.0), _SMALLEST_RANGE)
    last = len(bars) - 1
    return "".join(
        " " if share is None else bars[last - round((top - share) / span * last)]
        for share in lowest
    )


def _offline_lines(offline: Offline, look: Look) -> Iterator[str]:
    first = max(34, look.width * 2 // 5)
    other = (look.width - first) // 2
    is_narrow = other < _NARROWEST_COLUMN
    shown = _SHOWN_IF_NARROW if is_narrow else _SHOWN_SHARES
    reasons = sorted(offline.by_reason.items(), key=lambda pair: -pair[1])[:shown]
    columns = [
        ["offline by reason", *(f"{count:,} {name or 'no reason'}" for name, count in reasons)],
        ["by thing type", *map(_share, offline.by_thing_type[:shown])],
        ["by thing group", *map(_share, offline.by_thing_group[:shown])],
    ]
    if is_narrow:  # one beneath the other: part of a number would be a wrong number
        for heading, *texts in columns:
            yield look.bold(clip(heading, look.width))
            yield from (clip(f"  {text}", look.width) for text in texts)
        return
    widths = (first, other, other)
    for number, row in enumerate(zip_longest(*columns, fillvalue="")):
        cells = [pad(text, width - 1) for text, width in zip(row, widths, strict=True)]
        line = " ".join(cells).rstrip()
        yield look.bold(line) if number == 0 else line


def _share(share: Share) -> str:
    return f"{share.offline:,}/{share.of:,} {share.name or '(none)'}"


def _client_lines(clients: Sequence[OfflineClient], now: datetime, look: Look) -> list[str]:
    if not clients:
        return [look.bold("no client is offline")]
    lines = [look.bold(clip(f"{'went offline':<14}{'for':>8}  {'reason':<28}client", look.width))]
    for client in clients:
        since = moment(client.since, now) if client.since else ""
        duration = ago(now - client.since) if client.since else ""
        reason = pad(client.reason or "", 27)
        lines.append(clip(f"{since:<14}{duration:>8}  {reason} {client.client_id}", look.width))
    return lines


def _known(share: float | None) -> str:
    return "unknown" if share is None else percent(share)


def moment(at: datetime, now: datetime) -> str:
    """Return a time in UTC: of day if it is on the same day, else with the date."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%m-%d %H:%M}"


def ago(duration: timedelta) -> str:
    """Return a duration by its two largest units, such as `2m 5s`."""
    rest = max(0, int(duration.total_seconds()))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def clip(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, with `?` for what is not printable."""
    shown, used = [], 0
    for character in text:
        printable = character if character.isprintable() else "?"
        columns = _columns(printable)
        if used + columns > width:
            break
        shown.append(printable)
        used += columns
    return "".join(shown)


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` columns; all but the first are indented."""
    lines, line = [], ""
    for word in re.findall(r" *[^ ]+", clip(text, _LONGEST_TEXT)):
        if line and _width(line + word) > width:
            lines.append(line)
            line = _INDENT + word.lstrip()
        else:
            line += word
        while _width(line) > width:
            head = clip(line, width)
            lines.append(head)
            line = _INDENT + line[len(head) :]
    return [*lines, line] if line else lines


def pad(text: str, width: int) -> str:
    """Return a text that takes `width` columns."""
    clipped = clip(text, width)
    return clipped + " " * (width - _width(clipped))


def _width(text: str) -> int:
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
