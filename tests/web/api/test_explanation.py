"""Why a client is in its state, in words."""

import asyncio
import math

import pytest

from api_fleet import START, ApiFleet
from presenced.sources.gaps import GapReason, LastGap


def explained(fleet: ApiFleet, client_id: str = "a") -> str:
    """The explanation in the answer of the API."""

    async def run() -> str:
        async with fleet.served() as get:
            _, story = await get(f"/clients/{client_id}")
            return story["explanation"]

    return asyncio.run(run())


def test_online():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    assert explained(fleet) == "Online since 2023-11-14 22:13:20 UTC."


def test_offline_with_its_reason():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10, disconnectReason="MQTT_KEEP_ALIVE_TIMEOUT")
    fleet.wait(20)
    assert explained(fleet) == (
        "Offline since 2023-11-14 22:13:30 UTC: it sent nothing within its keep-alive interval."
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (None, "no reason was given"),
        ("NEW_REASON", "the reason given is NEW_REASON"),
        ("X" * 1000, f"the reason given is {'X' * 64}"),
    ],
)
def test_a_reason_that_is_not_known(reason, words):
    fleet = ApiFleet()
    fleet.hear("disconnected", at=0, disconnectReason=reason)
    assert explained(fleet).startswith(f"Offline since 2023-11-14 22:13:20 UTC: {words}.")


def test_a_first_event_that_is_a_disconnect_leaves_a_doubt():
    fleet = ApiFleet()
    fleet.hear("disconnected", at=0, disconnectReason="CONNECTION_LOST")
    assert explained(fleet).endswith(
        "In doubt: its first event was a disconnect, and a connect after it may have been before"
        " presenced began to receive events."
    )


def test_a_state_of_awss_record():
    fleet = ApiFleet()
    fleet.asked("a", connected=True, since=-60, at=0)
    assert explained(fleet) == (
        "Online since 2023-11-14 22:12:20 UTC."
        " AWS's record says so; no newer event of it has been received."
    )
    fleet.asked("b", connected=False, since=-3600, at=0, reason="CONNECTION_LOST", settles=False)
    assert explained(fleet, "b") == (
        "Offline since 2023-11-14 21:13:20 UTC: the connection was lost."
        " AWS's record says so; no newer event of it has been received."
        " In doubt: AWS's record lags and was read soon after the start; a second snapshot"
        " settles it."
    )


def test_an_event_that_is_older_than_awss_record():
    fleet = ApiFleet()
    fleet.asked("a", connected=False, since=-60, at=0, reason="CONNECTION_LOST")
    fleet.hear("connected", at=5, happened=-3600)
    assert explained(fleet).endswith(
        "A connect of version 1 came at 2023-11-14 22:13:25 UTC, 60 min late, and was ignored: the"
        " state in AWS's record is later."
    )


def test_a_state_that_awss_record_corrected():
    fleet = ApiFleet(asking=True)
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START + 10)
    fleet.asked("a", connected=False, since=1000, at=2000, reason="CONNECTION_LOST")
    assert explained(fleet) == (
        "Offline since 2023-11-14 22:30:00 UTC: the connection was lost."
        " AWS's record (SearchIndex), asked at 2023-11-14 22:46:40 UTC, corrected its state: an"
        " event of it was lost or has not come yet."
    )


def test_a_lookup_is_awaited_and_prevents_an_offline():
    fleet = ApiFleet(asking=True)
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10, disconnectReason="CONNECTION_LOST")
    fleet.wait(15.5)
    assert explained(fleet) == (
        "Disconnected since 2023-11-14 22:13:30 UTC: the connection was lost. Its offline delay is"
        " over. AWS has been asked whether it is connected; without an answer it goes offline"
        " within 2 s."
    )
    operation = "GetThingConnectivityData"
    fleet.asked("a", connected=True, since=12, at=16, operation=operation)
    prevented = (
        "At 2023-11-14 22:13:36 UTC it would have gone offline, but AWS (GetThingConnectivityData)"
        " answered that it is connected."
    )
    assert explained(fleet) == f"Online since 2023-11-14 22:13:20 UTC. {prevented}"
    fleet.hear("connected", version=2, at=2000)
    assert prevented in explained(fleet), "of the last hour"
    fleet.wait(4000)
    assert prevented not in explained(fleet)


def test_a_lookup_that_could_not_be_made_leaves_a_doubt():
    fleet = ApiFleet(asking=True)
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10, disconnectReason="CONNECTION_LOST")
    fleet.wait(17.5)
    told = explained(fleet)
    assert told.startswith("Offline since 2023-11-14 22:13:30 UTC: the connection was lost.")
    assert told.endswith(
        "In doubt: AWS should have been asked before it went offline, but the request failed, was"
        " not answered in time, or exceeded reconcile.lookups_per_second."
    )
    fleet.presence.note_gap(START + 60)
    fleet.gaps.last = LastGap("presenced", GapReason.RATE_LIMIT, START + 60)
    assert "In doubt since 2023-11-14 22:14:20 UTC: events may have been lost" in explained(fleet)


def test_pending_and_until_when():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=10, disconnectReason="CONNECTION_LOST")
    assert explained(fleet) == (
        "Disconnected since 2023-11-14 22:13:30 UTC: the connection was lost."
        " It counts as offline from 2023-11-14 22:13:35 UTC on, unless it connects before."
    )
    fleet.hold_after = START + 10
    assert "until presenced has caught up" in explained(fleet)


def test_unknown():
    fleet = ApiFleet()
    fleet.thing("a", at=0)
    assert explained(fleet) == (
        "Unknown: it is a thing in the registry, but no event of it has been received yet."
    )


def test_assumed_online():
    fleet = ApiFleet()
    fleet.hear("subscribed", at=0)
    assert explained(fleet) == (
        "Assumed online since 2023-11-14 22:13:20 UTC: it subscribed, but its connect has not"
        " been received."
    )


def test_an_old_disconnect_that_came_late():
    fleet = ApiFleet()
    fleet.hear("connected", version=7, at=0)
    fleet.hear("connected", version=8, at=100)
    fleet.hear("disconnected", version=7, at=104, happened=100)
    assert explained(fleet) == (
        "Online since 2023-11-14 22:13:20 UTC."
        " A disconnect of version 7 came at 2023-11-14 22:15:04 UTC, 4 s late, and was ignored:"
        " the connect of version 8 is later."
    )


def test_a_second_copy_and_how_many_were_ignored():
    fleet = ApiFleet()
    fleet.hear("connected", version=8, at=0)
    fleet.hear("connected", version=7, at=1, happened=-5)
    fleet.hear("connected", version=8, at=2, happened=0)
    assert explained(fleet) == (
        "Online since 2023-11-14 22:13:20 UTC."
        " 2 events have been ignored since then. The last: A second copy of the connect of"
        " version 8 came at 2023-11-14 22:13:22 UTC and was ignored."
    )


def test_without_versions_no_version_is_named():
    fleet = ApiFleet()
    fleet.hear("connected", version=None, at=1000)
    fleet.hear("disconnected", version=None, at=1001, happened=0)
    assert explained(fleet).endswith(
        "A disconnect came at 2023-11-14 22:30:01 UTC, 17 min late, and was ignored:"
        " the connect is later."
    )


def reconnected():
    """A client that reconnected within the offline delay three times within 4,000 s."""
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    for number in range(1, 4):
        fleet.hear("disconnected", version=number, at=2000 * number)
        fleet.hear("connected", version=number + 1, at=2000 * number + 1)
    return fleet


def test_flaps_of_the_last_hour():
    fleet = reconnected()
    assert "It reconnected within the offline delay 2 times in the last hour." in explained(fleet)
    for version in range(5, 45):
        fleet.hear("connected", version=version, at=7000 + version)
    # What happened before is forgotten.
    assert "offline delay" not in explained(fleet)
    fleet.hear("disconnected", version=44, at=7100)
    fleet.hear("connected", version=45, at=7101)
    assert "It reconnected within the offline delay once since 2023-11-15 00:1" in explained(fleet)


def test_flaps_of_the_last_hour_end():
    fleet = reconnected()
    fleet.wait(9000)
    assert "It reconnected within the offline delay once in the last hour." in explained(fleet)
    fleet.wait(20000)
    assert "reconnected" not in explained(fleet)


def test_two_devices_with_one_client_id():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    for version in range(2, 22):
        fleet.hear("connected", version=version, at=version)
        assert "two devices" not in explained(fleet)
        fleet.hear(
            "disconnected", version=version - 1, at=version, disconnectReason="DUPLICATE_CLIENTID"
        )
    assert (
        "taken over 20 times in the last hour, beginning between 22:10 and 22:13 UTC."
        " If two devices use this" in explained(fleet)
    )


def test_a_client_that_is_refused():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("connect_failed", at=5, connectFailureReason="AUTHORIZATION_FAILED")
    assert "refused" not in explained(fleet)
    fleet.hear("disconnected", version=1, at=10, disconnectReason="CONNECTION_LOST")
    assert "refused" not in explained(fleet)
    fleet.hear("connect_failed", at=20, connectFailureReason="AUTHORIZATION_FAILED")
    fleet.wait(30)
    assert explained(fleet) == (
        "Offline since 2023-11-14 22:13:30 UTC: the connection was lost. It tried to connect again"
        " at 2023-11-14 22:13:40 UTC, and was refused (AUTHORIZATION_FAILED)."
    )
    fleet.hear("connected", version=2, at=40)
    assert "refused" not in explained(fleet)


def test_a_decision_that_came_late():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.hear("disconnected", at=300, happened=200)
    fleet.wait(400)
    assert explained(fleet).endswith("The event that led to this state came 100 s late.")


def test_a_disconnect_that_is_awaited():
    fleet = ApiFleet()
    fleet.hear("connected", version=1, at=0)
    fleet.hear("connected", version=2, at=1)
    assert explained(fleet).endswith("The disconnect of 1 replaced connection may still come.")
    fleet.hear("connected", version=3, at=2)
    assert explained(fleet).endswith("The disconnects of 2 replaced connections may still come.")


def test_unverified_after_a_gap():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START + 60)
    assert explained(fleet).endswith(
        "In doubt: events may have been lost before presenced was started."
    )
    fleet.gaps.last = LastGap("presenced-2", GapReason.RATE_LIMIT, START + 60)
    assert explained(fleet).endswith(
        "In doubt since 2023-11-14 22:14:20 UTC: events may have been lost on the connection"
        " presenced-2, because messages arrived at the rate limit, above which the broker discards"
        " them."
    )


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (
            GapReason.OFFSET_OUT_OF_RANGE,
            "Kafka had deleted records that presenced had not read",
        ),
        (
            GapReason.STATE_LOST,
            "Kafka's state topic was deleted, and presenced had no copy of the state",
        ),
    ],
)
def test_a_gap_of_kafka_is_one_of_a_partition(reason, why):
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START + 60)
    fleet.gaps.last = LastGap("partition 3", reason, START + 60)
    assert explained(fleet).endswith(f"events may have been lost in partition 3, because {why}.")


@pytest.mark.parametrize("reason", GapReason)
def test_every_gap_has_its_words(reason):
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START)
    fleet.gaps.last = LastGap("presenced", reason, START)
    assert "presenced, because" in explained(fleet)


def test_a_client_without_a_history_is_explained_too():
    fleet = ApiFleet(clients=0)
    fleet.hear("connected", at=0)
    fleet.hear("connected", at=1)
    assert explained(fleet) == "Online since 2023-11-14 22:13:20 UTC."
    assert math.isinf(fleet.hold_after)
