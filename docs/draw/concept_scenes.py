"""The scenes of docs/explanation/concepts.md: short histories, and how presenced judges them."""

from collections.abc import Iterator
from dataclasses import dataclass

from presenced.events.model import LifecycleEvent
from presenced.presence import Presence, PresenceRules

_START = 1_700_000_000
_CLIENT = "device"


@dataclass(frozen=True)
class Span:
    """A labelled period, in seconds of the scene. `row` separates periods that overlap."""

    start: float
    end: float
    label: str
    row: int = 0


@dataclass(frozen=True)
class Message:
    """One lifecycle event: when it happened and when it arrived, in seconds of the scene.

    `row` is the row of its connection.
    """

    happened: float
    arrived: float
    connected: bool
    version: int
    row: int = 0


@dataclass(frozen=True)
class Scene:
    """A history of one device; all times are seconds from its beginning.

    `connections` are those of the device, `link` those of presenced. `gaps` are the times of gaps,
    `held` is the period in which no deadline fires. `naive` adds the state of a system in which the
    last message counts.
    """

    title: str
    length: float
    tick: float
    unit: str
    connections: tuple[Span, ...]
    messages: tuple[Message, ...]
    naive: bool = False
    link: tuple[Span, ...] = ()
    gaps: tuple[float, ...] = ()
    held: tuple[float, float] | None = None


def evaluate(scene: Scene) -> tuple[list[Span], dict[Message, str]]:
    """Return the state of the device over time, and the ordering of each message.

    Both come from the state machine of the daemon.
    """
    presence = Presence(PresenceRules(offline_delay=5.0))
    states: list[tuple[float, str]] = [(0.0, "unknown")]
    orderings: dict[Message, str] = {}

    def note(now: float) -> None:
        client = presence.clients.get(_CLIENT)
        if client is not None:
            state = "unverified" if presence.is_unverified(client) else str(client.state)
            states.append((now, state))

    for now, what in _moments(scene):
        while (due := presence.deadlines.next) is not None and due <= now:
            fires = max(due, scene.held[1]) if scene.held and due > scene.held[0] else due
            if fires > now:
                break
            for _ in presence.fire(due, 0.0):
                pass
            note(fires)
        if isinstance(what, Message):
            resets = presence.counts.version_resets
            effect = presence.apply(_event(what), now, now).effect
            later = "later" if presence.counts.version_resets == resets else "later_after_reset"
            orderings[what] = effect.value if effect and effect.is_ignored else later
        elif what == "gap":
            presence.note_gap(now)
        note(now)
    return list(_spans(states, scene.length)), orderings


def _moments(scene: Scene) -> list[tuple[float, Message | str]]:
    moments: list[tuple[float, Message | str]] = [
        (message.arrived, message) for message in scene.messages
    ]
    moments += [(at, "gap") for at in scene.gaps]
    return [*sorted(moments, key=lambda moment: moment[0]), (scene.length, "end")]


def _event(message: Message) -> LifecycleEvent:
    return LifecycleEvent(
        type="connected" if message.connected else "disconnected",
        client_id=_CLIENT,
        connected=message.connected,
        timestamp=round((_START + message.happened) * 1000),
        version=message.version,
        session=f"s{message.version}",
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
    title="Two connections with a flap between them, then offline",
    length=30,
    tick=5,
    unit="s",
    connections=(Span(2, 10, "connection 7"), Span(14, 19, "connection 8")),
    messages=(
        Message(2, 2.6, connected=True, version=7),
        Message(10, 10.6, connected=False, version=7),
        Message(14, 14.6, connected=True, version=8),
        Message(19, 19.6, connected=False, version=8),
    ),
)
_ORDER = Scene(
    title="A disconnect that arrives after the next connect, and then again",
    length=24,
    tick=4,
    unit="s",
    connections=(Span(2, 8, "connection 7"), Span(10, 24, "connection 8")),
    messages=(
        Message(2, 2.6, connected=True, version=7),
        Message(10, 10.6, connected=True, version=8),
        Message(8, 14, connected=False, version=7),
        Message(8, 18.5, connected=False, version=7),
    ),
    naive=True,
)
_TAKEOVER = Scene(
    title="A takeover: the end of the old connection is detected later",
    length=30 * _MINUTE,
    tick=5 * _MINUTE,
    unit="min",
    connections=(
        Span(2 * _MINUTE, 18 * _MINUTE, "connection 7 (lost at minute 10, undetected)"),
        Span(11 * _MINUTE, 30 * _MINUTE, "connection 8", row=1),
    ),
    messages=(
        Message(2 * _MINUTE, 2.4 * _MINUTE, connected=True, version=7),
        Message(11 * _MINUTE, 11.4 * _MINUTE, connected=True, version=8, row=1),
        Message(18 * _MINUTE, 18.4 * _MINUTE, connected=False, version=7),
    ),
)
_RESET = Scene(
    title="A reset: after an hour offline, versions restart at 0",
    length=3 * _HOUR,
    tick=_HOUR / 2,
    unit="h",
    connections=(
        Span(0.15 * _HOUR, 0.7 * _HOUR, "connection 41"),
        Span(2 * _HOUR, 3 * _HOUR, "connection 0"),
    ),
    messages=(
        Message(0.15 * _HOUR, 0.2 * _HOUR, connected=True, version=41),
        Message(0.7 * _HOUR, 0.75 * _HOUR, connected=False, version=41),
        Message(2 * _HOUR, 2.05 * _HOUR, connected=True, version=0),
    ),
)
_KEPT = Scene(
    title="The session is kept: messages published meanwhile arrive afterwards",
    length=24,
    tick=4,
    unit="s",
    connections=(Span(1, 4, "connection 7"), Span(9, 24, "connection 8")),
    link=(Span(0, 5, "connected"), Span(14, 24, "connected")),
    messages=(
        Message(1, 1.5, connected=True, version=7),
        Message(4, 4.5, connected=False, version=7),
        Message(9, 14.8, connected=True, version=8),
    ),
    held=(5, 16.8),
)
_LOST = Scene(
    title="The session is lost: the disconnect never arrives, the device is unverified",
    length=24,
    tick=4,
    unit="s",
    connections=(Span(1, 9, "connection 7"), Span(19, 24, "connection 8")),
    link=(Span(0, 5, "connected"), Span(14, 24, "connected")),
    messages=(
        Message(1, 1.5, connected=True, version=7),
        Message(19, 19.6, connected=True, version=8),
    ),
    gaps=(14,),
)

PICTURES = {
    "concept-life.svg": (_LIFE,),
    "concept-order.svg": (_ORDER,),
    "concept-versions.svg": (_TAKEOVER, _RESET),
    "concept-gap.svg": (_KEPT, _LOST),
}
"""The scenes of each picture, from top to bottom."""
