"""The scenes of docs/explanation/concepts.md: short histories, and how presenced judges them."""

from collections.abc import Iterator
from dataclasses import dataclass

from presenced.events import LifecycleEvent
from presenced.presence import Presence, PresenceRules

__all__ = ["PICTURES", "Scene", "Span", "Told", "said"]

_START = 1_700_000_000
_CLIENT = "device"


@dataclass(frozen=True)
class Span:
    """A time in which something was so, in seconds of the scene; `row` keeps two apart."""

    start: float
    end: float
    label: str
    row: int = 0


@dataclass(frozen=True)
class Told:
    """One lifecycle event: when it happened and when it arrived, in seconds of the scene.

    `row` is that of its connection.
    """

    happened: float
    arrived: float
    connected: bool
    version: int
    row: int = 0


@dataclass(frozen=True)
class Scene:
    """A history of one device; all times are seconds from its beginning.

    `standing` are its MQTT connections, `link` when presenced itself was connected. `doubts` are
    gaps, `held` the time in which no deadline fires. With `naive` it also shows what somebody says
    who believes the message that came last.
    """

    title: str
    length: float
    tick: float
    unit: str
    standing: tuple[Span, ...]
    told: tuple[Told, ...]
    naive: bool = False
    link: tuple[Span, ...] = ()
    doubts: tuple[float, ...] = ()
    held: tuple[float, float] | None = None


def said(scene: Scene) -> tuple[list[Span], dict[Told, str]]:
    """What presenced says at each time, and of each event how it stood to what was known.

    It is worked out by the state machine of the daemon itself.
    """
    presence = Presence(PresenceRules(offline_delay=5.0))
    states: list[tuple[float, str]] = [(0.0, "unknown")]
    verdicts: dict[Told, str] = {}

    def note(now: float) -> None:
        client = presence.clients.get(_CLIENT)
        if client is not None:
            state = "unverified" if presence.is_unverified(client) else str(client.state)
            states.append((now, state))

    for now, what in _moments(scene):
        while (due := presence.next_deadline) is not None and due <= now:
            fires = max(due, scene.held[1]) if scene.held and due > scene.held[0] else due
            if fires > now:
                break
            presence.advance(due, 0.0)
            note(fires)
        if isinstance(what, Told):
            verdicts[what] = presence.apply(_event(what), now, now).value
        elif what == "gap":
            presence.doubt(now)
        note(now)
    return list(_spans(states, scene.length)), verdicts


def _moments(scene: Scene) -> list[tuple[float, Told | str]]:
    moments: list[tuple[float, Told | str]] = [(told.arrived, told) for told in scene.told]
    moments += [(at, "gap") for at in scene.doubts]
    return [*sorted(moments, key=lambda moment: moment[0]), (scene.length, "end")]


def _event(told: Told) -> LifecycleEvent:
    return LifecycleEvent(
        type="connected" if told.connected else "disconnected",
        client_id=_CLIENT,
        connected=told.connected,
        timestamp=round((_START + told.happened) * 1000),
        version=told.version,
        session=f"s{told.version}",
    )


def _spans(states: list[tuple[float, str]], length: float) -> Iterator[Span]:
    begun, current = states[0]
    for at, state in [*states[1:], (length, "")]:
        if state != current:
            if at > begun:
                yield Span(begun, at, current)
            begun, current = at, state


_MINUTE, _HOUR = 60.0, 3600.0

_LIFE = Scene(
    title="Two connections, a flap between them, and an end that lasts",
    length=30,
    tick=5,
    unit="s",
    standing=(Span(2, 10, "connection 7"), Span(14, 19, "connection 8")),
    told=(
        Told(2, 2.6, connected=True, version=7),
        Told(10, 10.6, connected=False, version=7),
        Told(14, 14.6, connected=True, version=8),
        Told(19, 19.6, connected=False, version=8),
    ),
)
_ORDER = Scene(
    title="A disconnect that comes after the connect that followed it, and then once more",
    length=24,
    tick=4,
    unit="s",
    standing=(Span(2, 8, "connection 7"), Span(10, 24, "connection 8")),
    told=(
        Told(2, 2.6, connected=True, version=7),
        Told(10, 10.6, connected=True, version=8),
        Told(8, 14, connected=False, version=7),
        Told(8, 18.5, connected=False, version=7),
    ),
    naive=True,
)
_TAKEOVER = Scene(
    title="A takeover: the old connection is noticed to be dead only later",
    length=30 * _MINUTE,
    tick=5 * _MINUTE,
    unit="min",
    standing=(
        Span(2 * _MINUTE, 18 * _MINUTE, "connection 7 (dead from minute 10, unnoticed)"),
        Span(11 * _MINUTE, 30 * _MINUTE, "connection 8", row=1),
    ),
    told=(
        Told(2 * _MINUTE, 2.4 * _MINUTE, connected=True, version=7),
        Told(11 * _MINUTE, 11.4 * _MINUTE, connected=True, version=8, row=1),
        Told(18 * _MINUTE, 18.4 * _MINUTE, connected=False, version=7),
    ),
)
_RESET = Scene(
    title="A reset: after an hour away the version begins again",
    length=3 * _HOUR,
    tick=_HOUR / 2,
    unit="h",
    standing=(
        Span(0.15 * _HOUR, 0.7 * _HOUR, "connection 41"),
        Span(2 * _HOUR, 3 * _HOUR, "connection 0"),
    ),
    told=(
        Told(0.15 * _HOUR, 0.2 * _HOUR, connected=True, version=41),
        Told(0.7 * _HOUR, 0.75 * _HOUR, connected=False, version=41),
        Told(2 * _HOUR, 2.05 * _HOUR, connected=True, version=0),
    ),
)
_KEPT = Scene(
    title="The session is kept: what was published meanwhile comes afterwards",
    length=24,
    tick=4,
    unit="s",
    standing=(Span(1, 4, "connection 7"), Span(9, 24, "connection 8")),
    link=(Span(0, 5, "connected"), Span(14, 24, "connected")),
    told=(
        Told(1, 1.5, connected=True, version=7),
        Told(4, 4.5, connected=False, version=7),
        Told(9, 14.8, connected=True, version=8),
    ),
    held=(5, 16.8),
)
_LOST = Scene(
    title="The session is lost: so are the disconnect, and for a while the certainty",
    length=24,
    tick=4,
    unit="s",
    standing=(Span(1, 9, "connection 7"), Span(19, 24, "connection 8")),
    link=(Span(0, 5, "connected"), Span(14, 24, "connected")),
    told=(
        Told(1, 1.5, connected=True, version=7),
        Told(19, 19.6, connected=True, version=8),
    ),
    doubts=(14,),
)

PICTURES = {
    "concept-life.svg": (_LIFE,),
    "concept-order.svg": (_ORDER,),
    "concept-versions.svg": (_TAKEOVER, _RESET),
    "concept-gap.svg": (_KEPT, _LOST),
}
"""The scenes of each picture, one below the other."""
