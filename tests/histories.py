"""True histories of one client, as AWS IoT Core could have published them."""

from dataclasses import dataclass

from hypothesis import strategies as st

from presenced.events.model import LifecycleEvent

A = 120_000
R = 3_600_000
LATEST_TAKEOVER = 30 * 60_000
MILLISECOND = 1
START = 1_700_000_000_000

# Made once: to make a strategy costs as much as to draw from it.
_OFF = st.integers(-A, A) | st.sampled_from([-A, 0, A])
_FIRST_VERSION = st.integers(0, 3)
_SKIPPED_VERSIONS = st.integers(1, 3)
_DURATION = st.sampled_from([0, MILLISECOND, 1000]) | st.integers(0, 2 * R)
_END = st.sampled_from(["taken over", "ended", "away"])
_LATE = st.integers(0, LATEST_TAKEOVER) | st.just(LATEST_TAKEOVER)
_LONG_ABSENCE = st.integers(0, 3 * R)
_SHORT_ABSENCE = st.sampled_from([0, MILLISECOND]) | st.integers(0, R - 1)
_ABSENCE = st.sampled_from([0, MILLISECOND]) | st.integers(0, 2 * R)
_RESET = st.integers(0, 4)
_YES_OR_NO = st.booleans()
_AGAIN = st.lists(st.integers(0, 99), max_size=8)


@dataclass(frozen=True)
class History:
    """Events in their true order, and whether the last connection still stands."""

    events: tuple[LifecycleEvent, ...]
    online: bool

    @property
    def last(self) -> LifecycleEvent:
        return self.events[-1]


def lifecycle(
    *,
    connected: bool,
    timestamp: int,
    version: int | None,
    session: str | None,
    reason: str | None = None,
    client_id: str = "client",
) -> LifecycleEvent:
    return LifecycleEvent(
        type="connected" if connected else "disconnected",
        client_id=client_id,
        connected=connected,
        timestamp=timestamp,
        version=version,
        session=session,
        reason=reason,
    )


@st.composite
def histories(
    draw: st.DrawFn, *, most_connections: int = 6, reset_after_late: bool = True
) -> History:
    """Connections one after another: flaps, takeovers, long absences, version gaps and resets.

    Event times are off by up to A. The disconnect of a connection that was taken over happens up
    to 30 minutes after the new connect. Versions may reset once a client has been away for R:
    counted from the true end of its last connection with `reset_after_late`, else from the moment
    at which the last disconnect was noticed, too.
    """
    now = noticed = START
    version = draw(_FIRST_VERSION)
    session = 0
    events: list[LifecycleEvent] = []

    def add(*, connected: bool, at: int, reason: str | None = None) -> None:
        stamp = at + draw(_OFF)
        events.append(
            lifecycle(
                connected=connected,
                timestamp=stamp,
                version=version,
                session=f"s{session}",
                reason=reason,
            )
        )

    for left in reversed(range(draw(st.integers(1, most_connections)))):
        add(connected=True, at=now)
        now += draw(_DURATION)
        end = draw(_END)
        if left == 0:
            online = draw(_YES_OR_NO)
            if not online:
                add(connected=False, at=now, reason="CONNECTION_LOST")
            break
        if end == "taken over":
            late = draw(_LATE)
            noticed = max(noticed, now + late)
            add(connected=False, at=now + late, reason="DUPLICATE_CLIENTID")
            version += draw(_SKIPPED_VERSIONS)
        else:
            noticed = max(noticed, now)
            add(connected=False, at=now, reason="CONNECTION_LOST")
            if end == "away":
                now = (now if reset_after_late else noticed) + R + draw(_LONG_ABSENCE)
                reset = draw(_RESET)
                version = reset if reset <= 3 else version + 1
                session += 1
                continue
            now += draw(_SHORT_ABSENCE)
            version += draw(_SKIPPED_VERSIONS)
        if draw(_YES_OR_NO):  # a persistent session keeps its identifier
            session += 1
    return History(tuple(events), online)


@st.composite
def unversioned_histories(draw: st.DrawFn, *, most_connections: int = 6) -> History:
    """Connections without versions, each with a session of its own.

    Event times are off by up to A, but those of connects keep their order, because nothing else
    tells it. The disconnect of a connection that was taken over happens up to 30 minutes after the
    new connect.
    """
    now, latest = START, START - 10 * A
    events: list[LifecycleEvent] = []
    number = draw(st.integers(1, most_connections))
    online = draw(_YES_OR_NO)
    for session in range(number):
        latest = max(latest + MILLISECOND, now + draw(_OFF))
        events.append(
            lifecycle(connected=True, timestamp=latest, version=None, session=f"s{session}")
        )
        now += draw(_DURATION)
        is_last = session == number - 1
        if is_last and online:
            break
        late = 0
        if not is_last and draw(_YES_OR_NO):  # taken over
            late = draw(_LATE)
        events.append(
            lifecycle(
                connected=False,
                timestamp=max(now + late + draw(_OFF), latest - 2 * A),
                version=None,
                session=f"s{session}",
                reason="DUPLICATE_CLIENTID" if late else "CONNECTION_LOST",
            )
        )
        now += draw(_ABSENCE) if not late else 0
    return History(tuple(events), online)


@st.composite
def arrivals(draw: st.DrawFn, history: History) -> list[LifecycleEvent]:
    """The history's events in any order, any of them any number of times."""
    events = history.events
    again = [events[number % len(events)] for number in draw(_AGAIN)]
    return draw(st.permutations([*events, *again]))
