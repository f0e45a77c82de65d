"""`/recent`: what happened in the last hours, page by page."""

import asyncio
from typing import Any

import pytest

from api_fleet import ApiFleet
from presenced.presence import PresenceRules

RULES = PresenceRules(offline_delay=0.0)


def answered(fleet: ApiFleet, query: str = "", status: int = 200) -> Any:
    async def ask() -> Any:
        async with fleet.served() as get:
            found, answer = await get(f"/recent{query}")
            assert found == status, answer
            return answer

    return asyncio.run(ask())


def incident() -> ApiFleet:
    """A device that left alone, and a hall that went dark."""
    fleet = ApiFleet(RULES)
    for number in range(60):
        fleet.thing(f"d-{number}", at=0)
        fleet.join(f"d-{number}", "hall-3" if number < 30 else "hall-4", at=0)
        fleet.hear("connected", f"d-{number}", at=1)
    fleet.hear("disconnected", "d-59", at=500, disconnectReason="AUTH_ERROR")
    for number in range(30):
        at = 1000 + number / 2
        reason = "AUTH_ERROR" if number < 3 else "CONNECTION_LOST"
        fleet.hear("disconnected", f"d-{number}", at=at, disconnectReason=reason)
    return fleet


def test_a_mass_event_is_one_line_that_opens() -> None:
    answer = answered(incident())
    mass, alone, connects = answer["entries"]
    assert answer["next_before"] is None
    assert mass == {
        "kind": "mass",
        "state": "offline",
        "count": 30,
        "first": "2023-11-14T22:30:00.000Z",
        "last": "2023-11-14T22:30:14.500Z",
        "reasons": {"AUTH_ERROR": 3, "CONNECTION_LOST": 27},
        "thing_types": {},
        "thing_groups": {"hall-3": 30},
        "text": "30 clients offline within 14 s, 90 % CONNECTION_LOST, 100 % in hall-3",
        "clients": [
            {
                "client_id": f"d-{number}",
                "state": "offline",
                "reason": "AUTH_ERROR" if number < 3 else "CONNECTION_LOST",
            }
            for number in range(30)
        ],
    }
    assert alone == {
        "kind": "transition",
        "client_id": "d-59",
        "state": "offline",
        "previous": "online",
        "since": "2023-11-14T22:21:40.000Z",
        "confirmed_at": "2023-11-14T22:21:40.000Z",
        "reason": "AUTH_ERROR",
    }
    assert connects["text"] == "60 clients online within 1 s", "half of a fleet is no place"


def test_more_transitions_than_there_are_clients_are_not_called_clients() -> None:
    fleet = ApiFleet(RULES)
    for at in range(1, 40, 2):
        fleet.hear("connected", "d", at=at, version=at)
        fleet.hear("disconnected", "d", at=at + 1, version=at)
    texts = [entry["text"] for entry in answered(fleet)["entries"] if entry["kind"] == "mass"]
    assert texts == [
        "20 transitions to offline within 38 s",
        "20 transitions to online within 38 s",
    ]


def test_the_clients_of_a_mass_event_are_as_they_are_now() -> None:
    fleet = ApiFleet(PresenceRules(offline_delay=0.0, forget_offline_after=3600.0))
    for number in range(12):
        fleet.hear("connected", f"d-{number}", at=1)
        fleet.hear("disconnected", f"d-{number}", at=10, disconnectReason="CONNECTION_LOST")
    for number in range(1, 12):
        fleet.hear("connected", f"d-{number}", 2, at=3000)
    fleet.hear("disconnected", "d-2", 2, at=3001, disconnectReason="SERVER_ERROR")
    fleet.wait(3700)
    by_state = {each["state"]: each for each in answered(fleet, "?kind=mass")["entries"]}
    assert [tuple(each.values()) for each in by_state["offline"]["clients"][:4]] == [
        ("d-0", None, None),
        ("d-1", "online", None),
        ("d-2", "offline", "SERVER_ERROR"),
        ("d-3", "online", None),
    ]


def test_one_kind_of_entries_is_asked_for() -> None:
    fleet = incident()
    both = answered(fleet)["entries"]
    mass = answered(fleet, "?kind=mass")
    assert mass == {"entries": [both[0], both[2]], "next_before": None}
    assert answered(fleet, "?kind=transition") == {"entries": [both[1]], "next_before": None}
    page = answered(fleet, "?kind=mass&limit=1")
    assert page["entries"] == both[:1]
    assert answered(fleet, f"?kind=mass&before={page['next_before']}")["entries"] == both[2:]


def test_pages_follow_one_another() -> None:
    fleet, found, query = incident(), [], "?limit=1"
    while True:
        answer = answered(fleet, query)
        found += answer["entries"]
        if answer["next_before"] is None:
            break
        query = f"?limit=1&before={answer['next_before']}"
    assert found == answered(fleet)["entries"]


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=1001",
        "?before=-1",
        "?before=x",
        "?befor=1",
        "?limit=1&limit=2",
        "?kind=event",
    ],
)
def test_wrong_parameters_are_named(query: str) -> None:
    answer = answered(ApiFleet(), query, status=400)
    assert answer["parameter"] in ("limit", "before", "befor", "kind")
