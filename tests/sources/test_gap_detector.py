"""What follows for the fleet from what connections may have missed."""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet_process import Time
from histories import lifecycle
from presenced.events.message import Message
from presenced.events.model import Event, LifecycleEvent, ThingEvent
from presenced.fleet import Changes
from presenced.pipeline import Batch
from presenced.presence import Presence, PresenceRules
from presenced.sources.gaps import GapReason, Gaps
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.gap_detector import GapDetector, MqttSession
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.subscriptions import carries_presence
from presenced.sources.mqtt.traffic import Traffic
from presenced.system import log

EVERYTHING = ("$aws/events/#",)
REGISTRY = ("$aws/events/thing/#",)
EXPIRY = 3600.0


def options(client_id: str = "me", **changes: Any) -> ConnectionOptions:
    made = ConnectionOptions(
        endpoint="localhost",
        port=1883,
        client_id=client_id,
        filters=EVERYTHING,
        tls=None,
        session_expiry=EXPIRY,
    )
    return replace(made, **changes)


@dataclass
class Watcher:
    """GapDetector over a fleet with one client online, on a clock that the test moves."""

    earlier: list[MqttSession] = field(default_factory=list)
    time: Time = field(default_factory=Time)

    def __post_init__(self) -> None:
        self.presence = Presence(PresenceRules())
        self.reported = Gaps(self.presence, self.time.clocks)
        self.all = GapDetector(self.reported, self.time.clocks)
        self.all.restore(self.earlier)
        self.traffic: dict[str, Traffic] = {}
        self.statuses: dict[str, ConnectionStatus] = {}
        event = lifecycle(connected=True, timestamp=0, version=1, session="s", client_id="device")
        self.presence.apply(event, 0.0, 0.0)

    def expect(self, *wanted: ConnectionOptions) -> None:
        self.all.expect(wanted)
        for each in wanted:
            self.statuses.setdefault(each.client_id, ConnectionStatus(each.client_id, each.filters))
            self.traffic.setdefault(each.client_id, Traffic(max_message_rate=10))

    def look(self, *, stalled: bool = False) -> None:
        self.all.check(list(self.statuses.values()), self.traffic, stalled=stalled)

    def message(self, client_id: str = "me") -> Message:
        return Message("", b"", 1, self.time.wall, self.time.now, connection=client_id)

    def receive(self, count: int, client_id: str = "me") -> None:
        for _ in range(count):
            self.traffic[client_id].count([self.message(client_id)])

    def hear(self, event: Event | None, client_id: str = "me") -> None:
        changes = Changes([], set(), set(), set())
        self.all.observe(Batch([self.message(client_id)], [event], changes))

    def happening(self, age: float = 0.0, who: str = "device", **fields: Any) -> LifecycleEvent:
        at = round((self.time.wall - age) * 1000)
        return lifecycle(
            **{"connected": True, "timestamp": at, "version": 1, "session": "s", "client_id": who}
            | fields
        )

    def quiet(self, *but: str) -> None:
        """Two seconds in which the connections hear nothing, but for those that hear old events."""
        for _ in range(8):
            self.time.now += 0.25
            for name in but:
                self.hear(self.happening(age=500.0), name)
            self.look()

    def live(self, seconds: int, age: float) -> None:
        """Ten events a second that happened `age` seconds ago."""
        for _ in range(seconds * 10):
            self.time.now += 0.1
            self.hear(self.happening(age=age))
            self.look()

    def outage(self, seconds: float, *, resumed: bool, client_id: str = "me") -> None:
        self.all.up(client_id, resumed=False)
        self.all.down(client_id)
        self.time.now += seconds
        self.all.up(client_id, resumed=resumed)

    @property
    def gaps(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.reported.counts.items() if count}

    @property
    def unverified(self) -> int:
        return self.presence.counts.unverified_connected


def watching(*wanted: ConnectionOptions, earlier: list[MqttSession] | None = None) -> Watcher:
    watcher = Watcher(earlier or [])
    watcher.expect(*(wanted or [options()]))
    return watcher


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("expiry", "seconds", "resumed", "reason"),
    [
        (EXPIRY, 10.0, True, None),
        (EXPIRY, 10.0, False, "session_lost"),
        (EXPIRY, EXPIRY + 1, False, "session_expired"),
        (0.0, 10.0, False, "clean_session"),
    ],
)
def test_an_outage_is_a_gap_if_the_messages_were_not_kept(
    capsys: pytest.CaptureFixture[str],
    expiry: float,
    seconds: float,
    resumed: bool,
    reason: str | None,
) -> None:
    log.configure("info", "json")
    watcher = watching(options(session_expiry=expiry))
    watcher.outage(seconds, resumed=resumed)
    assert watcher.gaps == ({reason: 1} if reason else {})
    assert watcher.unverified == (reason is not None)
    told = [line for line in lines(capsys) if line["event"] == "events may have been lost"]
    assert [(line["reason"], line["gap_seconds"], line["unverified"]) for line in told] == (
        [(reason, seconds, 1)] if reason else []
    )


def test_a_full_backlog_is_a_gap_each_time_that_it_grows() -> None:
    watcher = watching()
    watcher.look()
    watcher.statuses["me"].messages_dropped = 5
    watcher.look()
    watcher.look()
    assert watcher.gaps == {"backlog_full": 1}
    watcher.statuses["me"].messages_dropped = 6
    watcher.look()
    assert watcher.gaps == {"backlog_full": 2}
    assert watcher.unverified == 1


def test_a_new_status_hides_no_drop() -> None:
    """A reload that changes a connection's filters gives it another status."""
    watcher = watching()
    watcher.statuses["me"].messages_dropped = 500
    watcher.look()
    watcher.statuses["me"] = ConnectionStatus("me", EVERYTHING)
    watcher.look()
    assert watcher.gaps == {"backlog_full": 1}
    watcher.statuses["me"].messages_dropped = 3
    watcher.look()
    assert watcher.gaps == {"backlog_full": 2}


def test_seconds_at_the_rate_limit_in_a_row_are_one_gap(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")
    watcher = watching()
    for _ in range(5):
        watcher.receive(10)
        watcher.look()
        assert watcher.unverified == 1, "from the first second on"
        assert watcher.gaps == {}, "it goes on"
        watcher.time.now += 1.0
    watcher.time.now += 1.0
    watcher.look()
    watcher.look()
    assert watcher.gaps == {"rate_limit": 1}
    (line,) = lines(capsys)
    assert (line["reason"], line["gap_seconds"]) == ("rate_limit", 6.0)
    watcher.receive(9)
    watcher.time.now += 10
    watcher.look()
    watcher.receive(10)
    watcher.look()
    watcher.time.now += 5
    watcher.look()
    assert watcher.gaps == {"rate_limit": 2}, "another one"


def test_clients_seen_during_a_gap_are_unverified_at_its_end() -> None:
    watcher = watching()
    watcher.receive(10)
    watcher.look()
    watcher.presence.apply(watcher.happening(version=2, session="t"), 0.0, 0.0)
    assert watcher.unverified == 0
    watcher.time.now += 2
    watcher.look()
    assert watcher.unverified == 1


def test_below_the_rate_limit_nothing_is_missed() -> None:
    watcher = watching()
    for _ in range(5):
        watcher.receive(9)
        watcher.look()
        watcher.time.now += 1.0
    assert watcher.gaps == {}


def test_a_connection_without_presence_leaves_no_client_unverified() -> None:
    watcher = watching(options(), options("registry", filters=REGISTRY))
    watcher.outage(10.0, resumed=False, client_id="registry")
    watcher.statuses["registry"].messages_dropped = 1
    watcher.receive(10, "registry")
    watcher.look()
    watcher.time.now += 5
    watcher.look()
    assert watcher.gaps == {"session_lost": 1, "backlog_full": 1, "rate_limit": 1}
    assert watcher.unverified == 0
    watcher.all.down("registry")
    assert watcher.all.held_at == math.inf


def test_an_outage_of_status_topics_leaves_clients_unverified() -> None:
    """Without lifecycle events their messages are all that tells of clients."""
    filters = ("devices/+/status",)
    watcher = watching(options(filters=filters, status_filters=filters))
    watcher.outage(10.0, resumed=False)
    assert watcher.gaps == {"session_lost": 1}
    assert watcher.unverified == 1


def test_connections_that_are_not_watched_are_left_alone() -> None:
    watcher = watching()
    watcher.all.up("stranger", resumed=False)
    watcher.all.down("stranger")
    watcher.all.up("stranger", resumed=False)
    watcher.hear(watcher.happening(), "stranger")
    watcher.statuses["stranger"] = ConnectionStatus("stranger", EVERYTHING)
    watcher.statuses["stranger"].messages_dropped = 4
    watcher.look()
    assert watcher.gaps == {}
    assert watcher.all.held_at == math.inf


def test_deadlines_are_held_from_the_outage_until_all_has_been_received() -> None:
    watcher = watching()
    watcher.all.up("me", resumed=False)
    assert watcher.all.held_at == math.inf
    watcher.all.down("me")
    down_at = watcher.time.now
    assert watcher.all.held_at == down_at
    watcher.time.now += 60
    watcher.all.up("me", resumed=True)
    assert watcher.all.catching_up == ["me"]
    assert watcher.all.held_at == down_at
    watcher.quiet()
    assert watcher.all.catching_up == []
    assert watcher.all.held_at == math.inf


@pytest.mark.parametrize(
    ("who", "connected", "taken"),
    [("me", True, True), ("me", False, False), ("other", True, False)],
)
def test_only_the_own_connect_corrects_the_clock(who: str, connected: bool, taken: bool) -> None:
    """By this machine's clock all happened 30 s before it did."""
    watcher = watching()
    watcher.outage(60.0, resumed=True)
    watcher.hear(watcher.happening(age=30.0, who=who, connected=connected))
    watcher.live(seconds=4, age=30.0)
    assert (watcher.all.catching_up == []) is taken


def test_quiet_releases_deadlines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    watcher = watching()
    watcher.outage(60.0, resumed=True)
    watcher.time.now += 2
    watcher.look(stalled=True)
    assert watcher.all.catching_up == ["me"]
    watcher.look()
    assert watcher.all.catching_up == ["me"], "some have been waiting a moment ago"
    watcher.quiet()
    watcher.look()
    assert watcher.all.catching_up == []
    assert watcher.all.held_at == math.inf
    assert sum("caught up" in line["event"] for line in lines(capsys)) == 1


def test_an_expired_session_releases_deadlines_while_down() -> None:
    watcher = watching()
    watcher.all.up("me", resumed=False)
    watcher.all.down("me")
    watcher.time.now += EXPIRY
    watcher.look()
    assert watcher.all.held_at < math.inf
    watcher.time.now += 1
    watcher.look()
    assert watcher.all.held_at == math.inf


@pytest.mark.parametrize("unkept", [{"session_expiry": 0.0}, {"session_expiry": 0.5}, {"qos": 0}])
def test_no_deadline_is_held_without_a_session(unkept: dict[str, Any]) -> None:
    """AWS IoT Core keeps messages of QoS 1 only, whatever becomes of the session."""
    watcher = watching(options(**unkept))
    watcher.all.up("me", resumed=False)
    watcher.all.down("me")
    assert watcher.all.held_at == math.inf
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == {"clean_session": 1}
    assert watcher.unverified == 1


def test_the_longest_outage_of_several_connections_holds() -> None:
    watcher = watching(options("one"), options("two"))
    for name in ("one", "two"):
        watcher.all.up(name, resumed=False)
    watcher.all.down("one")
    first = watcher.time.now
    watcher.time.now += 10
    watcher.all.down("two")
    watcher.time.now += 10
    watcher.all.up("one", resumed=True)
    watcher.all.up("two", resumed=True)
    assert watcher.all.catching_up == ["one", "two"]
    watcher.quiet("one")
    assert watcher.all.catching_up == ["one"]
    assert watcher.all.held_at == first
    watcher.quiet()
    assert watcher.all.held_at == math.inf


@pytest.mark.parametrize(
    "event",
    [
        None,
        ThingEvent(type="created", thing_name="t", timestamp=None),
        LifecycleEvent(  # whose time is that of receipt
            type="connected",
            client_id="device",
            connected=True,
            timestamp=4_000_000_000_000,
            untimed=True,
        ),
    ],
    ids=["junk", "thing", "untimed"],
)
def test_untimed_events_count_as_queued(event: Event | None) -> None:
    watcher = watching()
    watcher.outage(60.0, resumed=True)
    for _ in range(100):
        watcher.time.now += 0.1
        watcher.hear(event)
        watcher.look()
    assert watcher.all.catching_up == ["me"]


def test_present_events_of_any_family_are_not_queued() -> None:
    watcher = watching()
    watcher.outage(60.0, resumed=True)
    for _ in range(40):
        watcher.time.now += 0.1
        at = round(watcher.time.wall * 1000)
        watcher.hear(ThingEvent(type="created", thing_name="t", timestamp=at))
        watcher.look()
    assert watcher.all.catching_up == []


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_setting_the_clock_neither_ends_nor_prolongs_catching_up(
    step: float,
) -> None:
    watcher = watching()
    watcher.outage(60.0, resumed=True)
    watcher.time.now += 1
    watcher.time.offset += step
    watcher.live(seconds=5, age=30.0)
    assert watcher.all.catching_up == ["me"], "they are of the outage"
    watcher.live(seconds=4, age=1.0)
    assert watcher.all.catching_up == []


def test_sessions_are_those_of_connections_that_have_been_up() -> None:
    watcher = watching(options("never"), options("up"), options("down"), options("behind"))
    for name in ("up", "down", "behind"):
        watcher.all.up(name, resumed=False)
    watcher.all.down("down")
    watcher.all.down("behind")
    watcher.time.now += 30
    watcher.all.up("behind", resumed=True)
    watcher.time.now += 30
    wall = watcher.time.wall
    sessions = {
        session.client_id: (session.alive_at, session.missing_since)
        for session in watcher.all.sessions
    }
    assert sessions == {
        "up": (wall, None),
        "down": (wall - 60, wall - 60),
        "behind": (wall, wall - 60),
    }


def test_a_restart_continues_catching_up() -> None:
    wall = Time().wall
    watcher = watching(earlier=[MqttSession("me", wall - 10, missing_since=wall - 5000)])
    assert watcher.all.held_at == watcher.time.now - 5000
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == {}, "it was in use ten seconds ago"


def test_from_when_on_something_is_missing_outlasts_a_restart() -> None:
    first = watching(options("a"), options("things", filters=REGISTRY))
    for name in ("a", "things"):
        first.all.up(name, resumed=False)
    assert first.all.missing_since is None
    first.all.down("things")
    assert first.all.missing_since is None, "it has nothing about clients"
    first.time.now += 10
    since = first.time.wall
    first.all.down("a")
    first.time.now += 5
    assert first.all.missing_since == pytest.approx(since)
    second = watching(options("a"), earlier=first.all.sessions)
    assert second.all.missing_since == pytest.approx(since)
    second.all.up("a", resumed=True)
    second.time.now += 1
    second.all.down("a")
    assert second.all.missing_since == pytest.approx(since), "the rest has not come yet"
    second.all.up("a", resumed=True)
    second.quiet()
    assert second.all.missing_since is None


def session(age: float, client_id: str = "me") -> MqttSession:
    return MqttSession(client_id, Time().wall - age)


def test_an_earlier_process_held_deadlines_since_it_was_last_alive() -> None:
    watcher = watching(earlier=[session(40.0)])
    assert watcher.all.held_at == watcher.time.now - 40
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == {}
    assert watcher.all.catching_up == ["me"]


@pytest.mark.parametrize(
    ("age", "expiry", "reason", "seconds"),
    [
        (40.0, EXPIRY, "session_lost", 40.0),
        (EXPIRY + 5, EXPIRY, "session_expired", EXPIRY + 5),
        (40.0, 0.0, "clean_session", 40.0),
        (-9000.0, EXPIRY, "session_lost", 0.0),  # the clock was set back meanwhile
    ],
)
def test_gaps_between_two_processes(
    capsys: pytest.CaptureFixture[str], age: float, expiry: float, reason: str, seconds: float
) -> None:
    log.configure("info", "json")
    watcher = watching(options(session_expiry=expiry), earlier=[session(age)])
    assert watcher.all.held_at in (math.inf, watcher.time.now - age, watcher.time.now)
    watcher.all.up("me", resumed=False)
    assert watcher.gaps == {reason: 1}
    assert watcher.unverified == 1
    (line,) = lines(capsys)
    assert line["gap_seconds"] == seconds


def test_a_renamed_client_id_has_lost_the_session() -> None:
    watcher = watching(options("new"), earlier=[session(90.0, "older"), session(30.0, "old")])
    watcher.all.up("new", resumed=False)
    assert watcher.gaps == {"session_lost": 1}
    assert watcher.all.held_at == math.inf


def test_one_more_connection_has_lost_nothing() -> None:
    watcher = watching(options(), options("second"), earlier=[session(30.0)])
    watcher.all.up("me", resumed=True)
    watcher.all.up("second", resumed=False)
    assert watcher.gaps == {}
    watcher.expect(options(), options("second"), options("third"))
    watcher.all.up("third", resumed=False)
    assert watcher.gaps == {}


def test_a_client_id_that_a_reload_changes_counts_from_the_reload_on() -> None:
    """And not from when an earlier process had a session, days ago."""
    watcher = watching(earlier=[session(86400.0)])
    watcher.all.up("me", resumed=False)
    assert watcher.gaps == {"session_expired": 1}
    watcher.time.now += 3600
    watcher.expect(options("new"))
    watcher.time.now += 1
    watcher.all.up("new", resumed=False)
    assert watcher.gaps == {"session_expired": 1, "session_lost": 1}


def test_a_reload_keeps_the_state_of_a_connection() -> None:
    watcher = watching()
    watcher.all.up("me", resumed=False)
    watcher.all.down("me")
    down_at = watcher.time.now
    watcher.time.now += 5
    watcher.expect(options(filters=(*EVERYTHING, *REGISTRY)))
    assert watcher.all.held_at == down_at
    watcher.all.up("me", resumed=False)
    assert watcher.gaps == {"session_lost": 1}


def test_a_reload_may_remove_or_add_presence() -> None:
    watcher = watching(options(filters=REGISTRY))
    watcher.all.up("me", resumed=False)
    watcher.all.down("me")
    assert watcher.all.held_at == math.inf
    watcher.expect(options())
    assert watcher.all.held_at == watcher.time.now
    watcher.expect()
    assert watcher.all.held_at == math.inf


def test_every_reason_can_be_counted() -> None:
    assert set(watching().reported.counts) == set(GapReason)


TOPICS = [
    f"$aws/events/presence/{kind}/{client_id}"
    for kind in ("connected", "disconnected")
    for client_id in ("a", "b")
]
LEVELS = st.sampled_from(["$aws", "events", "presence", "connected", "a", "+", "thing", ""])
FILTERS = st.tuples(
    st.sampled_from([(), ("$share", "group")]),
    st.lists(LEVELS, min_size=1, max_size=6)
    | st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            *(st.sampled_from([level, "+"]) for level in TOPICS[0].split("/")[:n])
        ).map(list)
    ),
    st.sampled_from([(), ("#",)]),
).map(lambda parts: "/".join([*parts[0], *parts[1], *parts[2]]))


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5 section 4.7, level by level."""
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    names = topic.split("/")
    if names[0].startswith("$") and levels[0] in ("+", "#"):
        return False
    while levels:
        level = levels.pop(0)
        if level == "#":
            return True
        if not names or level not in ("+", names.pop(0)):
            return False
    return not names


@given(st.lists(FILTERS, min_size=1, max_size=3))
@example(["$aws/events/presence/#"])
@example(["$aws/events/presence"])
@example(["$share/g/$aws/events/presence/+/+"])
@example(["#"])
@example(["$aws/events/presence/connected/+"])
def test_every_filter_that_presence_matches_carries_it(filters: list[str]) -> None:
    if any(matches(each, topic) for each in filters for topic in TOPICS):
        assert carries_presence(filters)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "$aws/events/thing/#",
        "$aws/events/subscriptions/#",
        "$aws/things/#",
        "$share/group/$aws/events/jobExecution/#",
        "$aws/events/presence",
        "$aws/events",
        "events/presence/#",
    ],
)
def test_filters_of_other_families_do_not(topic_filter: str) -> None:
    assert not carries_presence([topic_filter])
    assert carries_presence([topic_filter, "$aws/events/presence/+/+"])


PRESENCE = ("$aws/events/presence/#",)


def grant(watcher: Watcher, topic_filter: str, qos: int = 1) -> None:
    watcher.all.granted("me", topic_filter, qos)
    watcher.look()


def come_at(watcher: Watcher, qos: int, topic: str = "$aws/events/presence/connected/a") -> None:
    message = Message(topic, b"", qos, watcher.time.wall, watcher.time.now, connection="me")
    watcher.traffic["me"].count([message])
    watcher.look()


@pytest.mark.parametrize(("granted", "gaps"), [(1, {}), (0, {"clean_session": 1})])
def test_an_outage_of_a_filter_granted_at_qos_0_is_a_gap(
    capsys: pytest.CaptureFixture[str], granted: int, gaps: dict[str, int]
) -> None:
    log.configure("info", "json")
    watcher = watching()
    watcher.all.up("me", resumed=False)
    grant(watcher, EVERYTHING[0], granted)
    told = [line for line in lines(capsys) if line["event"] == "events come at QoS 0"]
    assert [line["detail"].split(":")[0] for line in told] == (
        [] if granted else ["the broker granted $aws/events/# at QoS 0 only, though mqtt.qos is 1"]
    )
    assert len(watcher.all.warnings) == len(told)
    watcher.all.down("me")
    assert math.isfinite(watcher.all.held_at) is bool(granted), "nothing comes that could cancel it"
    watcher.time.now += 10
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == gaps
    assert watcher.unverified == len(gaps)


@pytest.mark.parametrize(
    ("filters", "asked", "granted", "warned"),
    [
        (EVERYTHING, 1, 0, True),
        (EVERYTHING, 0, 0, False),
        (REGISTRY, 1, 0, False),
        (EVERYTHING, 1, 1, False),
    ],
)
def test_a_lower_granted_qos_is_a_warning(
    filters: tuple[str, ...], asked: int, granted: int, warned: bool
) -> None:
    watcher = watching(options(filters=filters, qos=asked))
    watcher.all.up("me", resumed=False)
    grant(watcher, filters[0], granted)
    assert bool(watcher.all.warnings) is warned
    assert all(warning.startswith("me: the broker granted") for warning in watcher.all.warnings)


@pytest.mark.parametrize(
    ("qos", "topic", "gaps"),
    [
        (1, "$aws/events/presence/connected/a", {}),
        (0, "$aws/events/presence/connected/a", {"clean_session": 1}),
        (0, "$aws/events/thing/a/created", {}),
    ],
)
def test_an_outage_where_events_are_published_at_qos_0_is_a_gap(
    qos: int, topic: str, gaps: dict[str, int]
) -> None:
    watcher = watching()
    watcher.all.up("me", resumed=False)
    grant(watcher, EVERYTHING[0])
    come_at(watcher, qos, topic)
    assert bool(watcher.all.warnings) is bool(gaps)
    watcher.all.down("me")
    watcher.time.now += 10
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == gaps
    grant(watcher, EVERYTHING[0])
    watcher.all.down("me")
    watcher.time.now += 10
    watcher.all.up("me", resumed=True)
    assert watcher.gaps == gaps, "nothing came in between of which it could be known"


def test_a_later_process_knows_that_a_session_kept_nothing() -> None:
    watcher = watching()
    watcher.all.up("me", resumed=False)
    grant(watcher, EVERYTHING[0], 0)
    later = watching(earlier=watcher.all.sessions)
    later.all.up("me", resumed=True)
    assert later.gaps == {"clean_session": 1}


def changed(*filters: str, before: dict[str, int] | None) -> Watcher:
    """A restart with other filters; the broker resumes the session."""
    sessions = [MqttSession("me", Time().wall - 20, before)]
    watcher = watching(options(filters=filters), earlier=sessions)
    watcher.all.up("me", resumed=True)
    for each in filters:
        watcher.all.granted("me", each, 1)
    return watcher


def test_a_new_filter_is_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    watcher = changed(*PRESENCE, before={REGISTRY[0]: 1})
    assert watcher.unverified == 1, "at once"
    watcher.look()
    watcher.look()
    assert watcher.gaps == {"filters_changed": 1}
    (line,) = lines(capsys)
    assert (line["reason"], line["gap_seconds"]) == ("filters_changed", 20.0)
    assert watcher.all.unwanted("me") == [REGISTRY[0]]
    watcher.all.unsubscribed("me", REGISTRY[0])
    assert watcher.all.unwanted("me") == []
    assert watcher.all.sessions[0].subscribed == {PRESENCE[0]: 1}


def test_several_new_filters_are_one_gap() -> None:
    connected, disconnected = (f"$aws/events/presence/{each}/#" for each in ("a", "b"))
    watcher = changed(connected, disconnected, before={REGISTRY[0]: 1})
    watcher.look()
    assert watcher.gaps == {"filters_changed": 1}


@pytest.mark.parametrize(
    ("filters", "before"),
    [
        (PRESENCE, {EVERYTHING[0]: 1}),
        (EVERYTHING, {EVERYTHING[0]: 1, REGISTRY[0]: 1}),
        (REGISTRY, {PRESENCE[0]: 1}),
        (PRESENCE, None),
    ],
    ids=["narrower", "fewer", "no presence", "unknown"],
)
def test_filters_that_missed_nothing_are_no_gap(
    filters: tuple[str, ...], before: dict[str, int] | None
) -> None:
    watcher = changed(*filters, before=before)
    watcher.look()
    assert watcher.gaps == {}
    assert watcher.unverified == 0
    assert watcher.all.unwanted("me") == [each for each in before or () if each not in filters]


def test_a_reload_without_a_state_file_knows_the_filters_too() -> None:
    watcher = watching(options(filters=REGISTRY))
    watcher.all.up("me", resumed=False)
    grant(watcher, REGISTRY[0])
    watcher.expect(options(filters=PRESENCE))
    watcher.all.down("me")
    watcher.time.now += 1
    watcher.all.up("me", resumed=True)
    assert watcher.all.unwanted("me") == [REGISTRY[0]]
    grant(watcher, PRESENCE[0])
    assert watcher.gaps == {"filters_changed": 1}


def test_subscriptions_of_unknown_connections_are_left_alone() -> None:
    watcher = watching()
    watcher.all.granted("other", EVERYTHING[0], 0)
    watcher.all.unsubscribed("other", EVERYTHING[0])
    assert watcher.all.unwanted("other") == []
    assert watcher.all.warnings == []
