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
        "text": "30 devices offline within 14 s, 90 % CONNECTION_LOST, 100 % in hall-3",
        "clients": [f"d-{number}" for number in range(30)],
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
    assert connects["text"] == "60 devices online within 1 s", "half of a fleet is no place"


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
    "query", ["?limit=0", "?limit=1001", "?before=-1", "?before=x", "?befor=1", "?limit=1&limit=2"]
)
def test_wrong_parameters_are_named(query: str) -> None:
    answer = answered(ApiFleet(), query, status=400)
    assert answer["parameter"] in ("limit", "before", "befor")
