"""The overview: presenced itself, the fleet now and before, and who is offline."""

from collections.abc import Sequence
from datetime import UTC, datetime

from presenced.recent.standout import Share
from presenced.recent.trend import Trend, TrendMinute, share_online
from presenced.system.shares import percent
from presenced.system.supervision import Readiness, Unreceived
from presenced.system.timestamps import format_utc
from presenced.web.api import activity_answers as answers
from presenced.web.api.answers import Summary
from presenced.web.api.currency import meaning_of
from presenced.web.api.offline_breakdown import Breakdown, Standout

_HOUR, _DAY = 3600.0, 86400.0
_SHOWN_HOURS = 6


class DaemonState:
    """Whether events are received, and since when (in seconds since the epoch)."""

    def __init__(self) -> None:
        self.name = ""
        self.since: float | None = None
        self.unreceived: Unreceived | None = None
        self._is_old = False
        self._missing_since: float | None = None
        self._received_until: float | None = None

    def update(self, readiness: Readiness, now: float) -> None:
        """Take in whether the daemon is ready at a wall-clock time."""
        name, unreceived = _name_of(readiness), readiness.unreceived
        is_old = unreceived.is_of_clients if unreceived else name == "not_receiving"
        if is_old and not self._is_old and self.name:
            self._received_until = now
        if name != self.name:
            self.name, self.since = name, now
        self._is_old, self.unreceived = is_old, unreceived
        self._missing_since = readiness.missing_since

    @property
    def is_current(self) -> bool:
        """Whether the states of the clients are those of now."""
        is_behind = self.unreceived.is_behind if self.unreceived else self.name == "catching_up"
        return not (self._is_old or is_behind)

    def as_of(self, trend: Trend, now: float) -> float | None:
        """Return as of when the states are while events about clients are not received.

        After a start that is what the source knows of the process before, or the last minute in
        which that one was ready. None if neither is known, or if events are received.
        """
        if not self._is_old:
            return None
        if self._missing_since is not None:
            return self._missing_since
        if self._received_until is not None:
            return self._received_until
        minute = trend.last_before(now)
        return None if minute is None else minute.at


def _name_of(readiness: Readiness) -> str:
    if readiness.ready:
        return "receiving"
    if readiness.unreceived is not None:
        return "receiving_partly"
    return "catching_up" if readiness.catching_up else "not_receiving"


def overview_answer(
    summary: Summary,
    daemon: DaemonState,
    trend: Trend,
    by_reason: dict[str, int],
    breakdown: Breakdown,
    devices: list[answers.StandoutDevice],
    certificates: list[answers.DaemonCertificate] | None,
    now: float,
) -> answers.Overview:
    """Return the overview at a wall-clock time."""
    clients, as_of = summary.clients, daemon.as_of(trend, now)
    minutes = trend.since(now - _SHOWN_HOURS * _HOUR + 1, now)
    return answers.Overview(
        time=summary.time,
        partitions=summary.partitions,
        daemon=answers.DaemonNow(
            state=daemon.name,
            since=None if daemon.since is None else format_utc(daemon.since),
            as_of=None if as_of is None else format_utc(as_of),
            text=summary.readiness,
            not_received=daemon.unreceived.filters if daemon.unreceived else (),
            is_current=daemon.is_current,
            meaning=meaning_of(summary, daemon.name, daemon.unreceived, as_of, now),
            in_doubt=sum(summary.in_doubt.clients.values()),
            aws=summary.aws,
            certificates=certificates,
        ),
        fleet=answers.FleetNow(
            clients=clients,
            share_online=_rounded(
                share_online(clients["online"] + clients["pending"], clients["offline"])
            ),
            hour_ago=_share_at(trend, now - _HOUR),
            day_ago=_share_at(trend, now - _DAY),
            trend=[_point(minute) for minute in minutes],
        ),
        offline=answers.OfflineNow(
            by_reason=by_reason,
            by_thing_type=_shares(breakdown.types),
            by_thing_group=_shares(breakdown.groups),
            standout=_standout(breakdown.standout, now) if breakdown.standout else None,
        ),
        devices=devices,
    )


def _share_at(trend: Trend, at: float) -> float | None:
    minute = trend.near(at)
    return None if minute is None else _rounded(minute.share_online)


def _rounded(share: float | None) -> float | None:
    # A client less than all of a hundred million is less than 1.
    return None if share is None else round(share, 9)


def _point(minute: TrendMinute) -> answers.TrendPoint:
    return answers.TrendPoint(
        at=format_utc(minute.at),
        online=minute.online,
        pending=minute.pending,
        offline=minute.offline,
        to_online=minute.to_online,
        to_offline=minute.to_offline,
    )


def _shares(shares: Sequence[Share]) -> list[answers.OfflineShare]:
    return [answers.OfflineShare(*share) for share in shares]


def _standout(found: Standout, now: float) -> answers.Standout:
    return answers.Standout(
        kind=found.kind,
        name=found.share.name,
        offline=found.share.offline,
        of=found.share.of,
        since=None if found.since is None else format_utc(found.since),
        reason=found.share.name if found.kind == "reason" else found.reason,
        text=_text(found, now),
    )


def _text(found: Standout, now: float) -> str:
    name, offline, of = found.share
    since = "" if found.since is None else f" since {_clock(found.since, now)}"
    if found.kind == "reason":
        return (
            f"{_words(name)}: the reason of {offline:,} of {of:,} offline clients, unusually many"
            f"{since}"
        )
    reason = f", {_words(found.reason)}" if found.reason else ""
    return f"{name}: {percent(offline / of)} offline{since}{reason}"


def _clock(at: float, now: float) -> str:
    is_recent = abs(now - at) < _DAY
    return datetime.fromtimestamp(at, UTC).strftime(
        "%H:%M UTC" if is_recent else "%Y-%m-%d %H:%M UTC"
    )


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower().replace("mqtt", "MQTT")
