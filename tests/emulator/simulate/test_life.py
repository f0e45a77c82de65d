"""A made-up fleet: the same again by its seed, and the daemon's pipeline finds the truth in it."""

import io
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.commands.replay import Replay
from presenced.events.message import Message
from presenced.settings import load_settings
from presenced.system import log
from presenced_emulator.lifecycle import Manners
from presenced_emulator.simulate.life import Life, Plan, Post, summary, truth_lines

START = 1_764_072_000.0
IN_ORDER = Manners(late_rate=0, taken_over_late_rate=0, duplicate_rate=0)


def plan_of(**more: Any) -> Plan:
    wanted: dict[str, Any] = {"devices": 20, "duration": 120.0, "seed": 1, "start": START, **more}
    return Plan(**wanted)


def lived(**more: Any) -> tuple[Life, list[Post]]:
    life = Life(plan_of(**more))
    return life, list(life.messages())


def disconnects(posts: list[Post]) -> Counter[str]:
    told = (json.loads(post.payload) for post in posts if "/disconnected/" in post.topic)
    return Counter(fields["disconnectReason"] for fields in told)


def clients(posts: list[Post], start: float = START) -> dict[str, str]:
    """The state of each client after a replay."""
    messages = (
        Message(
            topic=post.topic,
            payload=post.payload,
            qos=0,
            received=start + post.at,
            moment=start + post.at,
        )
        for post in posts
    )
    out = io.BytesIO()
    log.configure("critical")
    configuration = load_settings(None, environ={}, require_endpoint=False)
    Replay(configuration, out, "clients").run(messages, settle=True)
    lines = map(json.loads, out.getvalue().splitlines())
    return {line["client_id"]: line["state"] for line in lines}


def true(life: Life) -> dict[str, str]:
    lines = map(json.loads, truth_lines(life.truth, START))
    return {line["client_id"]: line["state"] for line in lines}


shares = st.floats(0, 1)
plans = st.builds(
    plan_of,
    devices=st.integers(1, 30),
    duration=st.sampled_from([1.0, 30.0, 400.0]),
    seed=st.integers(),
    rate=st.none() | st.sampled_from([0.5, 10.0, 50.0]),
    flaps=st.none() | st.floats(0, 0.5),
    takeovers=st.none() | st.floats(0, 0.5),
    storms=st.integers(0, 3),
    storm_share=shares,
    outage=st.sampled_from([0.5, 10.0]),
    manners=st.builds(
        Manners,
        late_rate=shares,
        taken_over_late_rate=shares,
        duplicate_rate=shares,
        longest_delay=st.sampled_from([0.2, 1.5, 60.0]),
    ),
)


@given(plans)
@settings(max_examples=60, deadline=None)
def test_the_daemon_finds_the_truth_whatever_the_plan(plan: Plan) -> None:
    life = Life(plan)
    posts = list(life.messages())
    assert [post.at for post in posts] == sorted(post.at for post in posts)
    assert len(life.truth) == plan.devices
    assert clients(posts) == true(life)


def test_the_same_seed_and_start_give_the_same_messages_byte_for_byte() -> None:
    wanted: dict[str, Any] = {"storms": 2, "rate": 20.0}
    assert lived(**wanted)[1] == lived(**wanted)[1]
    assert lived(**wanted)[1] != lived(**wanted, seed=2)[1]
    later = lived(**wanted, start=START + 1)[1]
    assert [(post.at, post.topic) for post in later] == [
        (post.at, post.topic) for post in lived(**wanted)[1]
    ]


def test_a_second_simulation_goes_on_from_the_first() -> None:
    """Whom the first one left online and the second disconnects is offline."""
    first = lived()[1]
    life = Life(plan_of(seed=2, start=START + 200))
    second = [post._replace(at=post.at + 200) for post in life.messages()]
    assert clients(first + second) == true(life)


@pytest.mark.parametrize(("rate", "duration"), [(2.0, 3000.0), (20.0, 600.0), (200.0, 120.0)])
def test_the_rate_is_met_on_average(rate: float, duration: float) -> None:
    plan = plan_of(devices=200, duration=duration, rate=rate)
    begun = plan.first_connect(200)
    posts = [post for post in Life(plan).messages() if begun < post.at <= duration]
    assert 0.75 < len(posts) / (duration - begun) / rate < 1.25


def test_storms_take_their_share_at_once_and_bring_it_back() -> None:
    quiet = {"devices": 100, "duration": 100.0, "rate": 0.1, "manners": IN_ORDER}
    life, posts = lived(**quiet, storms=1, storm_share=0.5, outage=10.0)
    lost = [post.at for post in posts if "/disconnected/" in post.topic]
    assert 35 <= lost.count(50.0) <= 65
    back = [post.at for post in posts if "/presence/connected/" in post.topic and post.at > 50]
    assert len(back) >= lost.count(50.0)
    assert min(back) >= 60.0
    assert sum(each.reason is None for each in life.truth.values()) > 90


def test_no_device_connects_twice_or_goes_twice_whatever_storms_there_are() -> None:
    wanted: dict[str, Any] = {"storms": 40, "outage": 0.5, "takeovers": 0.0, "manners": IN_ORDER}
    online: dict[str, bool] = {}
    for post in lived(**wanted, duration=400.0)[1]:
        kind, _, client_id = post.topic.removeprefix("$aws/events/presence/").partition("/")
        if kind in ("connected", "disconnected"):
            assert online.get(client_id, False) is not (kind == "connected")
            online[client_id] = kind == "connected"


def test_a_storm_is_the_end_of_a_stay_and_not_one_more() -> None:
    plan = plan_of(
        duration=400.0, storms=40, storm_share=1.0, outage=0.5, takeovers=0.0, manners=IN_ORDER
    )
    posts = list(Life(plan).messages())
    times = [post.at for post in posts if "/disconnected/" in post.topic]
    others = [at for at in times if at not in plan.storm_times]
    assert 0 < len(others) < 1.2 * 20 * 400 / 30, "devices stay for 30 s on average"


def test_shares_of_endings() -> None:
    wanted: dict[str, Any] = {"devices": 50, "duration": 600.0, "manners": IN_ORDER}
    all_taken_over = disconnects(lived(**wanted, takeovers=1.0, flaps=0.0)[1])
    assert set(all_taken_over) == {"DUPLICATE_CLIENTID"}
    none = disconnects(lived(**wanted, takeovers=0.0)[1])
    assert "DUPLICATE_CLIENTID" not in none
    some = disconnects(lived(**wanted, takeovers=0.3)[1])
    assert 0.25 < some["DUPLICATE_CLIENTID"] / some.total() < 0.35


def test_flaps_come_back_within_the_offline_delay_at_any_pace() -> None:
    for rate in (0.5, 5.0):
        posts = lived(flaps=1.0, takeovers=0.0, rate=rate, duration=900.0, manners=IN_ORDER)[1]
        gone: dict[str, float] = {}
        for post in posts:
            kind, _, client_id = post.topic.removeprefix("$aws/events/presence/").partition("/")
            if kind == "disconnected":
                gone[client_id] = post.at
            elif kind == "connected" and client_id in gone:
                assert post.at - gone.pop(client_id) < 5


def test_reorder_and_duplicates() -> None:
    in_order = lived(manners=IN_ORDER)[1]
    assert len(set(in_order)) == len(in_order)
    twice = lived(manners=Manners(late_rate=0, taken_over_late_rate=0, duplicate_rate=1))[1]
    assert len(twice) == 2 * len(in_order)
    late = lived(manners=Manners(late_rate=1, taken_over_late_rate=1, duplicate_rate=0))[1]
    assert len(late) == len(in_order)
    assert [post.topic for post in late] != [post.topic for post in in_order]


def test_an_early_end_tells_what_has_happened_and_nothing_more() -> None:
    life = Life(plan_of(duration=600.0))
    posts = []
    for post in life.messages():
        posts.append(post)
        if post.at > 60:
            life.end()
    assert max(post.at for post in posts) < 65
    assert clients(posts) == true(life)


def test_what_people_are_told() -> None:
    life, _ = lived()
    online, offline = summary(life.truth)
    states = Counter(true(life).values())
    assert online.startswith(f"{states['online']} online: ")
    assert offline.startswith(f"{states['offline']} offline")
    assert list(summary({})) == ["0 online.", "0 offline."]
