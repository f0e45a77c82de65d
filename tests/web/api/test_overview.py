"""`/overview`: presenced itself, the fleet now and before, and who is offline."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api_fleet import START, ApiFleet, asking_settings
from presenced.aws.errors import AwsError, Cause
from presenced.fleet import Partition
from presenced.presence import Client, PresenceRules, State
from presenced.recent.trend import TrendMinute
from presenced.settings.certificates import EXPIRY_WARNING
from presenced.system.supervision import Readiness, Unreceived

ROOT = Path(__file__).parents[3]
RULES = PresenceRules(offline_delay=0.0)


def answered(fleet: ApiFleet, path: str = "/overview", status: int = 200) -> Any:
    async def ask() -> Any:
        async with fleet.served() as get:
            found, answer = await get(path)
            assert found == status, answer
            return answer

    return asyncio.run(ask())


def hall(fleet: ApiFleet, name: str, things: range, kind: str = "pump") -> None:
    """Things in a group, all online."""
    for number in things:
        fleet.thing(f"d-{number}", at=0, thingTypeName=kind)
        fleet.join(f"d-{number}", name, at=0)
        fleet.hear("connected", f"d-{number}", at=1)


def go_dark(fleet: ApiFleet, things: range, at: float, reason: str = "CONNECTION_LOST") -> None:
    for number in things:
        fleet.hear("disconnected", f"d-{number}", at=at, disconnectReason=reason)


def test_an_empty_fleet_has_no_share_and_nothing_stands_out() -> None:
    fleet = ApiFleet()
    answer = answered(fleet)
    assert answer["fleet"] == {
        "clients": {"online": 0, "pending": 0, "offline": 0, "unknown": 0},
        "share_online": None,
        "hour_ago": None,
        "day_ago": None,
        "trend": [],
    }
    assert answer["offline"] == {
        "by_reason": {},
        "by_thing_type": [],
        "by_thing_group": [],
        "standout": None,
    }
    assert answer["partitions"] is None
    assert answer["daemon"]["aws"] is None


def test_the_state_of_the_daemon_has_since_when() -> None:
    fleet = ApiFleet()
    seen = []
    for at, readiness in (
        (0, Readiness(ready=False, text="starting")),
        (5, Readiness(ready=False, text="catching up", catching_up=True)),
        (9, Readiness(ready=True, text="ready: all is well")),
        (20, Readiness(ready=True, text="ready: nearly all is well")),
        (30, Readiness(ready=False, text="presenced: connection lost")),
    ):
        fleet.wait(at)
        fleet.readiness = readiness
        fleet.api.check()
        daemon = answered(fleet)["daemon"]
        seen.append((daemon["state"], daemon["since"][17:19], daemon["text"]))
    assert seen == [
        ("not_receiving", "20", "starting"),
        ("catching_up", "25", "catching up"),
        ("receiving", "29", "ready: all is well"),
        ("receiving", "29", "ready: nearly all is well"),
        ("not_receiving", "50", "presenced: connection lost"),
    ]


def test_after_a_restart_the_states_are_as_of_what_was_received_before() -> None:
    fleet = ApiFleet()

    def as_of(at: float, readiness: Readiness) -> str | None:
        fleet.wait(at)
        fleet.readiness = readiness
        fleet.api.check()
        found: str | None = answered(fleet)["daemon"]["as_of"]
        return found

    starting = Readiness(ready=False, text="starting")
    assert as_of(0, starting) is None
    minutes = [TrendMinute(int(START) + each, 1, 0, 0, 0, 0, {}) for each in (-600, -540, 900)]
    fleet.api.activity.restore((), (), minutes)
    assert as_of(1, starting) == "2023-11-14T22:04:20.000Z"  # not what a wrong clock had in it
    down = Readiness(ready=False, text="presenced: connection lost", missing_since=START - 501.5)
    assert as_of(2, down) == "2023-11-14T22:04:58.500Z"
    assert "The states are those of 22:04:58 UTC: " in meaning(fleet)
    assert as_of(3, Readiness(ready=False, text="catching up", catching_up=True)) is None
    assert as_of(4, down) == "2023-11-14T22:04:58.500Z"  # the rest has not come yet
    assert as_of(5, Readiness(ready=True, text="ready")) is None
    assert as_of(6, Readiness(ready=False, text="refused")) == "2023-11-14T22:13:26.000Z"


def test_without_any_such_time_the_states_are_those_of_the_state_file() -> None:
    fleet = ApiFleet()
    fleet.readiness = Readiness(ready=False, text="the queue does not answer")
    assert meaning(fleet).startswith("presenced cannot tell whether devices are affected.")
    fleet.pipeline.fleet.restore(Client("a", State.ONLINE), None, ())
    fleet.pipeline.recount()
    told = "The states are those of the state file: presenced cannot tell whether devices"
    assert meaning(fleet).startswith(told)


def meaning(fleet: ApiFleet) -> str:
    fleet.api.check()
    return " ".join(answered(fleet)["daemon"]["meaning"])


LOST = "1 client is in doubt (1 online): events may have been lost, last at 22:13:21 UTC"


def test_what_the_state_of_the_daemon_means_for_those_of_the_clients() -> None:
    fleet = ApiFleet()
    fleet.hear("connected", "a", at=0)
    assert meaning(fleet) == "No client is in doubt."
    fleet.readiness = Readiness(ready=False, text="presenced: connection lost")
    cut_off = (
        "The states are those of 22:13:20 UTC: presenced cannot tell whether devices are affected."
        " Check first whether other clients of the MQTT broker work: if they do, only presenced is"
        " cut off; if not, the devices probably are, too."
        " Whether events are lost meanwhile is known once presenced receives them again."
    )
    assert meaning(fleet) == cut_off
    fleet.presence.note_gap(START + 1)
    doubt = f"{LOST}. The next event of a client confirms its state."
    assert meaning(fleet) == f"{cut_off} {doubt}"
    fleet.readiness = Readiness(ready=False, text="catching up", catching_up=True)
    assert meaning(fleet) == (
        f"Until presenced has caught up, states may be old, and no client goes offline. {doubt}"
    )
    fleet.readiness = Readiness(ready=True, text="ready")
    assert meaning(fleet) == doubt
    fleet.wait(86400)
    assert "last at 2023-11-14 22:13:21 UTC" in meaning(fleet)


MAYBE_ONLINE = (
    "Clients shown as offline may be online: not all connects have been received since 22:13:24"
    " UTC."
)
MAYBE_OFFLINE = (
    "Clients shown as online may be offline: not all disconnects have been received since 22:13:24"
    " UTC."
)
BEHIND = "Until presenced has caught up, states may be old, and no client goes offline."


@pytest.mark.parametrize(
    ("connects", "disconnects", "more", "is_current", "told"),
    [
        (
            True,
            True,
            {},
            False,
            "Clients may have gone online or offline unnoticed since 22:13:24 UTC.",
        ),
        (
            True,
            False,
            {"holds": True},
            False,
            f"{MAYBE_ONLINE} Until presenced receives them, no client goes offline.",
        ),
        (
            False,
            True,
            {"is_behind": True, "holds": True},
            False,
            f"{MAYBE_OFFLINE} {BEHIND}",
        ),
        (
            False,
            False,
            {},
            True,
            "The states of the clients are those of now: connects and disconnects are received.",
        ),
        (
            False,
            False,
            {"is_behind": True},
            False,
            BEHIND,
        ),
    ],
)
def test_what_the_states_are_worth_if_some_events_are_not_received(
    connects: bool, disconnects: bool, more: dict[str, bool], is_current: bool, told: str
) -> None:
    fleet = ApiFleet()
    fleet.hear("connected", "a", at=0)
    fleet.api.check()
    unreceived = Unreceived(["$aws/events/x/#"], connects, disconnects, **more)
    fleet.wait(4)
    fleet.readiness = Readiness(ready=False, text="presenced-2: lost", unreceived=unreceived)
    lost = "Whether events are lost meanwhile is known once presenced receives them again."
    assert meaning(fleet) == f"{told} {lost}"
    daemon = answered(fleet)["daemon"]
    assert daemon["state"] == "receiving_partly"
    assert daemon["not_received"] == ["$aws/events/x/#"]
    assert daemon["is_current"] == is_current
    is_old = connects or disconnects
    assert daemon["as_of"] == ("2023-11-14T22:13:24.000Z" if is_old else None)
    fleet.wait(120)
    fleet.api.check()
    assert len(answered(fleet)["fleet"]["trend"]) == int(is_current)
    fleet.readiness = Readiness(ready=False, text="presenced: lost\npresenced-2: lost")
    assert f"those of {'22:13:24' if is_old else '22:15:20'} UTC: " in meaning(fleet)


def test_the_states_of_a_worker_are_those_of_the_state_topic() -> None:
    fleet = ApiFleet(partition=Partition(0, 4))
    fleet.readiness = Readiness(ready=False, text="consumer group: no broker answers")
    fleet.pipeline.fleet.restore(Client("a", State.ONLINE), None, ())
    fleet.pipeline.recount()
    assert meaning(fleet).startswith("The states are those of the state topic: presenced cannot")


def test_partitions_that_catch_up_are_not_shown_and_the_others_are_current() -> None:
    fleet = ApiFleet(partition=Partition(0, 4))
    fleet.readiness = Readiness(ready=False, text="partition 1 is catching up", catching_up=True)
    assert meaning(fleet) == (
        "Clients of a partition that is being restored or catches up are not shown until it has;"
        " the states of the others are those of now."
    )


def test_a_first_disconnect_leaves_a_doubt_without_a_gap() -> None:
    fleet = ApiFleet()
    for name in ("a", "b"):
        fleet.hear("disconnected", name, at=0)
    told = "2 clients are in doubt (2 offline). The next event of a client confirms its state."
    assert meaning(fleet) == told


def test_what_confirms_the_state_of_clients_in_doubt_if_aws_is_asked(tmp_path: Path) -> None:
    async def ask() -> None:
        fleet = ApiFleet(settings=asking_settings(tmp_path / "presenced.yaml"))
        fleet.hear("connected", "a", at=0)
        fleet.presence.note_gap(START + 1)
        assert fleet.reconciler is not None
        last = fleet.reconciler.snapshots
        assert last is not None
        async with fleet.served() as get:

            async def told() -> str:
                return " ".join((await get("/overview"))[1]["daemon"]["meaning"])

            doubt = f"{LOST}, or AWS has not confirmed the state."
            confirmed = "The next snapshot of AWS's record confirms it"
            assert await told() == f"{doubt} {confirmed}; none is complete since the start."
            last.completed_at, last.duration, last.things = START, 1.5, 250
            assert await told() == f"{doubt} {confirmed}; the last was complete at 22:13:20 UTC."
            last.error = AwsError(Cause.DENIED, "SearchIndex", "not allowed", status=403)
            assert await told() == (
                f"{doubt} AWS's record would confirm it, but requests to AWS fail."
            )

    asyncio.run(ask())


def test_the_trend_has_the_share_of_an_hour_and_of_a_day_ago() -> None:
    fleet = ApiFleet(RULES)
    hall(fleet, "hall-1", range(4))
    for minute in range(25 * 60):
        at = 60.0 * minute + 40
        fleet.wait(at)
        if minute == 120:
            go_dark(fleet, range(1), at)
        if minute == 25 * 60 - 30:
            go_dark(fleet, range(1, 3), at)
        fleet.api.check()
    numbers = answered(fleet)["fleet"]
    assert numbers["clients"] == {"online": 1, "pending": 0, "offline": 3, "unknown": 0}
    assert (numbers["share_online"], numbers["hour_ago"], numbers["day_ago"]) == (0.25, 0.75, 1.0)
    assert len(numbers["trend"]) == 360
    assert sum(point["to_offline"] for point in numbers["trend"]) == 2
    assert numbers["trend"][-1] == {
        "at": "2023-11-15T23:13:00.000Z",
        "online": 1,
        "pending": 0,
        "offline": 3,
        "to_online": 0,
        "to_offline": 0,
    }


def test_a_hall_that_goes_dark_stands_out_with_the_time_and_the_reason() -> None:
    fleet = ApiFleet(RULES)
    hall(fleet, "hall-1", range(60))
    hall(fleet, "hall-2", range(60, 160))
    hall(fleet, "hall-3", range(160, 260), kind="valve")
    for name in ("hall-1", "hall-2", "hall-3"):
        fleet.nest(name, "site", at=2)
    go_dark(fleet, range(2), at=100, reason="CLIENT_INITIATED_DISCONNECT")
    go_dark(fleet, range(160, 200), at=16_600)
    fleet.wait(17_000)
    offline = answered(fleet)["offline"]
    assert offline["by_reason"] == {"CONNECTION_LOST": 40, "CLIENT_INITIATED_DISCONNECT": 2}
    assert offline["by_thing_group"][0] == {"name": "hall-3", "offline": 40, "of": 100}
    assert [each["name"] for each in offline["by_thing_group"]] == ["hall-3", "site", "hall-1"]
    assert offline["by_thing_type"][0]["name"] == "valve"
    assert offline["standout"] == {
        "kind": "thing_type",
        "name": "valve",
        "offline": 40,
        "of": 100,
        "since": "2023-11-15T02:50:00.000Z",
        "reason": "CONNECTION_LOST",
        "text": "valve: 40 % offline since 02:50 UTC, connection lost",
    }


def test_a_hall_that_lost_devices_one_by_one_has_the_time_of_half_of_them() -> None:
    fleet = ApiFleet(RULES)
    hall(fleet, "hall-1", range(100))
    hall(fleet, "hall-3", range(100, 120))
    for number in range(9):
        go_dark(fleet, range(100 + number, 101 + number), at=1000 + 60 * number)
    fleet.wait(2000)
    standout = answered(fleet)["offline"]["standout"]
    assert (standout["name"], standout["offline"], standout["of"]) == ("hall-3", 9, 20)
    assert standout["since"] == "2023-11-14T22:34:00.000Z"


def test_a_hall_whose_record_alone_is_known_has_the_time_of_that() -> None:
    fleet = ApiFleet(RULES)
    hall(fleet, "hall-1", range(100))
    for number in range(100, 120):
        fleet.thing(f"d-{number}", at=10)
        fleet.join(f"d-{number}", "hall-3", at=10)
        fleet.asked(f"d-{number}", connected=False, since=5, at=20)
    assert answered(fleet)["offline"]["standout"] == {
        "kind": "thing_group",
        "name": "hall-3",
        "offline": 20,
        "of": 20,
        "since": "2023-11-14T22:13:25.000Z",
        "reason": None,
        "text": "hall-3: 100 % offline since 22:13 UTC",
    }


def test_a_hall_that_goes_dark_in_a_fleet_that_always_churns_has_its_own_time() -> None:
    """What happened in it is part of the mass event of all the others."""
    fleet = ApiFleet(RULES)
    hall(fleet, "hall-1", range(200))
    hall(fleet, "hall-3", range(200, 220))
    for second in range(200):
        at, name = 100.0 + second, f"d-{second}"
        fleet.hear("disconnected", name, 1, at=at, disconnectReason="CONNECTION_LOST")
        if second == 150:
            go_dark(fleet, range(200, 220), at=at)
        fleet.wait(at + 0.5)
        fleet.hear("connected", name, 2, at=at + 0.5)
    standout = answered(fleet)["offline"]["standout"]
    assert (standout["name"], standout["offline"]) == ("hall-3", 20)
    assert standout["text"] == "hall-3: 100 % offline since 22:17 UTC, connection lost"


def test_without_a_memory_of_it_there_is_no_time() -> None:
    fleet = ApiFleet(RULES)
    for number in range(120):
        fleet.thing(f"d-{number}", at=10, thingTypeName="valve" if number < 20 else "pump")
        fleet.asked(f"d-{number}", connected=number >= 20, since=5, at=20)
    standout = answered(fleet)["offline"]["standout"]
    assert (standout["kind"], standout["since"]) == ("thing_type", None)
    assert standout["text"] == "valve: 100 % offline"


def test_a_reason_that_is_new_stands_out_if_no_group_does() -> None:
    fleet = ApiFleet(RULES)
    for number in range(400):
        fleet.hear("connected", f"d-{number}", at=0)
    for number in range(300):
        go_dark(fleet, range(number, number + 1), at=60.0 * number)
        fleet.api.check()
    at = 60.0 * 300 + 7200
    fleet.wait(at)
    fleet.api.check()
    go_dark(fleet, range(300, 340), at=at + 1, reason="FORBIDDEN_ACCESS")
    fleet.wait(at + 60)
    fleet.api.check()
    standout = answered(fleet)["offline"]["standout"]
    assert (standout["kind"], standout["name"], standout["reason"]) == (
        "reason",
        "FORBIDDEN_ACCESS",
        "FORBIDDEN_ACCESS",
    )
    assert standout["text"] == (
        "forbidden access: the reason of 40 of 340 offline clients, unusually many since 05:13 UTC"
    )


def test_a_worker_adds_up_its_partitions_while_it_may_show_them() -> None:
    first = ApiFleet(RULES, partition=Partition(0, 4))
    second = ApiFleet(RULES, partition=Partition(2, 4), beside=first)
    hall(first, "hall-1", range(50))
    hall(second, "hall-1", range(50, 100))
    hall(second, "hall-3", range(100, 150))
    hall(first, "hall-3", range(150, 200))
    go_dark(second, range(100, 120), at=50)
    go_dark(first, range(150, 170), at=50)
    answer = answered(first)
    assert answer["partitions"] == {"owned": [0, 2], "of": 4, "shown": True}
    assert answer["fleet"]["clients"]["offline"] == 40
    assert answer["offline"]["by_reason"] == {"CONNECTION_LOST": 40}
    assert answer["offline"]["by_thing_group"] == [{"name": "hall-3", "offline": 40, "of": 100}]
    assert answer["offline"]["standout"]["since"] == "2023-11-14T22:14:10.000Z"
    (entry,) = answered(first, "/recent?limit=1")["entries"]
    assert entry["text"] == "40 clients offline within 1 s, CONNECTION_LOST, 100 % in hall-3"
    first.holding = False
    for path in ("/overview", "/recent"):
        assert answered(first, path, status=503)["title"] == "Service Unavailable"


def test_aws_and_the_clients_in_doubt_are_those_of_the_summary(tmp_path: Any) -> None:
    async def ask() -> None:
        fleet = ApiFleet(settings=asking_settings(tmp_path / "presenced.yaml"))
        fleet.hear("connected", "a", at=0)
        fleet.presence.note_gap(START + 1)
        async with fleet.served() as get:
            summary, overview = (await get("/summary"))[1], (await get("/overview"))[1]
            assert summary["aws"] is not None
            assert overview["daemon"]["aws"] == summary["aws"]
            assert overview["daemon"]["in_doubt"] == 1

    asyncio.run(ask())


def fight(fleet: ApiFleet, client_id: str, times: int, at: float) -> None:
    for version in range(times + 1):
        fleet.hear("connected", client_id, version, at=at + version)
        if version:
            fleet.hear(
                "disconnected",
                client_id,
                version - 1,
                at=at + version,
                disconnectReason="DUPLICATE_CLIENTID",
            )


def refuse(fleet: ApiFleet, client_id: str, times: int, at: float) -> None:
    for number in range(times):
        fleet.hear("connect_failed", client_id, None, at=at, happened=at - number / 1000)


def test_single_devices_stand_out_the_worst_of_each_kind_first() -> None:
    fleet = ApiFleet()
    fight(fleet, "calm", 19, at=0)
    fight(fleet, "camera-0179", 58, at=100)
    refuse(fleet, "calm", 5, at=200)
    for number in range(5):
        refuse(fleet, f"gateway-{number}", 30 + number, at=300)
    beside = ApiFleet(partition=Partition(1, 2), beside=fleet)
    refuse(beside, "camera-0179", 6, at=300)
    fight(beside, "pump", 20, at=400)
    answer = answered(fleet)
    assert answer["devices"][0] == {
        "client_id": "camera-0179",
        "kind": "takeovers",
        "count": 58,
        "since": "2023-11-14T22:10:00.000Z",
        "state": "online",
        "text": "camera-0179: taken over 58 times in the last hour,"
        " beginning between 22:10 and 22:20 UTC: two devices may use this client ID",
    }
    assert answer["devices"][1] == {
        "client_id": "gateway-4",
        "kind": "refused",
        "count": 34,
        "since": "2023-11-14T22:10:00.000Z",
        "state": None,
        "text": "gateway-4: 34 connects refused in the last hour,"
        " beginning between 22:10 and 22:20 UTC",
    }
    assert [each["client_id"] for each in answer["devices"][2:]] == ["pump"]
    story = answered(fleet, "/clients/camera-0179")
    (told,) = story["troubles"]
    assert told == answer["devices"][0]["text"].removeprefix("camera-0179: ")
    assert answered(fleet, "/clients/calm")["troubles"] == []
    refuse(fleet, "gateway-4", 1, at=1200)
    fleet.wait(3000)
    fought, refused, _ = (each["text"] for each in answered(fleet)["devices"])
    assert "in the last hour, at about 22:10 UTC:" in fought
    assert refused.endswith("in the last hour, from about 22:10 UTC to 22:30 UTC")
    fleet.wait(400 + 3600 + 600)
    assert answered(fleet)["devices"] == []


def test_a_fight_of_days_has_since_when_it_began() -> None:
    fleet = ApiFleet()
    refuse(fleet, "gateway", 1, at=0)  # a single one, hours before
    for half in range(8, 80):
        refuse(fleet, "gateway", 6, at=1800.0 * half)
    device = answered(fleet)["devices"][0]
    assert device["since"] == "2023-11-15T02:10:00.000Z"
    assert device["text"].endswith(", beginning between 2023-11-15 02:10 and 02:20 UTC")


def test_certificates_of_the_daemon_are_told_before_they_expire() -> None:
    fleet = ApiFleet()
    fleet.wait(0)
    assert answered(fleet)["daemon"]["certificates"] is None
    warned = EXPIRY_WARNING.total_seconds()
    fleet.certificate_expiry = {"ca": START + warned, "client": START + warned - 1}
    assert answered(fleet)["daemon"]["certificates"] == [
        {
            "name": "client",
            "expires_at": "2023-12-14T22:13:19.000Z",
            "warning": (
                "presenced's client certificate expires in 29 days, on 2023-12-14 22:13 UTC:"
                " replace it before then, or presenced cannot connect"
            ),
        },
        {"name": "ca", "expires_at": "2023-12-14T22:13:20.000Z", "warning": None},
    ]


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (2 * 86400, "expires in 2 days, on 2023-11-16 22:13 UTC: "),
        (2 * 86400 - 1, "expires in 47 hours, on "),
        (3600, "expires in 1 hour, on "),
        (1, "expires in less than an hour, on "),
        (0, "expired on 2023-11-14 22:13 UTC: presenced may refuse to connect until it is"),
        (-9 * 86400, "expired on 2023-11-05 22:13 UTC: "),
    ],
)
def test_the_warning_says_how_long_a_certificate_is_valid(left: float, words: str) -> None:
    fleet = ApiFleet()
    fleet.certificate_expiry = {"kafka_ca": START + left}
    (certificate,) = answered(fleet)["daemon"]["certificates"]
    begin = "a CA certificate with which presenced verifies Kafka "
    assert certificate["warning"].startswith(begin + words)


def test_the_alert_fires_when_the_warning_begins() -> None:
    rules = ROOT / "config" / "prometheus" / "rules" / "alerts.yml"
    limit = f"< {EXPIRY_WARNING.days} * 86400\n"
    expires = "presenced_certificate_expiry_timestamp_seconds - time() "
    assert expires + limit in rules.read_text()
