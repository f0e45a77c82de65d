"""The API by a client of HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api_fleet import START, ApiFleet, Get, asking_settings
from presenced.aws.errors import AwsError, Cause
from presenced.aws.reconciler import Reconciler
from presenced.presence import PresenceRules
from presenced.sources.gaps import GapReason, LastGap
from presenced.web.api.openapi import document
from presenced.web.api.parameters import read_cursor, write_cursor
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import Order


def ask(fleet: ApiFleet, use: Callable[[Get], Awaitable[None]]) -> None:
    async def run() -> None:
        async with fleet.served() as get:
            await use(get)

    asyncio.run(run())


def validate(name: str, answer: object) -> None:
    """Check an answer against the OpenAPI document."""
    schemas = document()["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": schemas}
    Draft202012Validator(schema).validate(answer)


def test_the_clients_of_a_thing():
    fleet = ApiFleet(thing_pattern="(?P<thing>.+?)(-jobs|-shadow)?")
    fleet.hear("connected", "pump-1-jobs", 1, at=1)
    fleet.hear("connected", "pump-1-shadow", 1, at=1)
    fleet.hear("connected", "pump-2-jobs", 1, at=1)
    fleet.hear("disconnected", "pump-1-jobs", 1, at=2)

    async def use(get: Get) -> None:
        status, page = await get("/clients?thing=pump-1")
        assert status == 200
        validate("Clients", page)
        clients = page["clients"]
        assert [(c["client_id"], c["state"], c["thing_state"]) for c in clients] == [
            ("pump-1-jobs", "pending", "online"),
            ("pump-1-shadow", "online", "online"),
        ]
        assert {client["thing"] for client in clients} == {"pump-1"}
        summary = (await get("/summary"))[1]
        validate("Summary", summary)
        assert summary["things_by_presence"]["online"] == 2

    ask(fleet, use)


def test_a_client_and_its_place_in_the_registry():
    fleet = ApiFleet(
        metrics={"client_id_pattern": "(?P<site>[a-z]+)-.*", "thing_attributes": ["room", "x"]}
    )
    fleet.thing("berlin-1", 0, thingTypeName="pump", attributes={"room": "7", "key": "secret"})
    fleet.join("berlin-1", "south", 0)
    fleet.hear("connected", "berlin-1", 3, at=1, ipAddress="192.0.2.7", principalIdentifier="abc")
    fleet.hear("disconnected", "berlin-1", 3, at=2, disconnectReason="CONNECTION_LOST")

    async def use(get: Get) -> None:
        status, story = await get("/clients/berlin-1")
        assert status == 200
        validate("Story", story)
        event = {
            "type": "disconnected",
            "received_at": "2023-11-14T22:13:22.000Z",
            "event_time": "2023-11-14T22:13:22.000Z",
            "late_seconds": 0.0,
            "version": 3,
            "session": "s3",
            "reason": "CONNECTION_LOST",
            "effect": "began_delay",
            "against": None,
        }
        connected = event | {
            "type": "connected",
            "received_at": "2023-11-14T22:13:21.000Z",
            "event_time": "2023-11-14T22:13:21.000Z",
            "reason": None,
            "effect": "went_online",
        }
        client = {
            "client_id": "berlin-1",
            "state": "pending",
            "since": "2023-11-14T22:13:22.000Z",
            "last_transition": "2023-11-14T22:13:21.000Z",
            "reason": "CONNECTION_LOST",
            "source": "lifecycle",
            "version": 3,
            "session": "s3",
            "verified": True,
            "thing": "berlin-1",
            "thing_state": "pending",
            "thing_type": "pump",
            "thing_groups": ["south"],
            "classes": {"site": "berlin"},
        }
        assert story == client | {
            "partition": None,
            "explanation": "Disconnected since 2023-11-14 22:13:22 UTC: the connection was lost. It"
            " counts as offline from 2023-11-14 22:13:27 UTC on, unless it connects before.",
            "decided_by": event,
            "ignored": [],
            "last_events": {"connected": connected, "disconnected": event},
            "deadline": {"then": "offline", "at": "2023-11-14T22:13:27.000Z", "held": False},
            "unverified": None,
            "record_time": None,
            "awaits_lookup": False,
            "troubles": [],
            "flapping_until": None,
            "awaited_disconnects": 0,
            "attributes": {"room": "7"},
        }
        listed = {"clients": [client], "next_cursor": None, "partitions": None}
        assert await get("/clients") == (200, listed)

    ask(fleet, use)


def test_the_deciding_event_comes_from_the_state_without_a_history():
    fleet = ApiFleet(clients=0)
    fleet.hear("disconnected", version=3, at=1, disconnectReason="CLIENT_ERROR")

    async def use(get: Get) -> None:
        _, story = await get("/clients/a")
        validate("Story", story)
        assert story["decided_by"] == {
            "type": "disconnected",
            "received_at": None,
            "event_time": "2023-11-14T22:13:21.000Z",
            "late_seconds": None,
            "version": 3,
            "session": "s3",
            "reason": "CLIENT_ERROR",
            "effect": None,
            "against": None,
        }
        _, history = await get("/clients/a/history")
        assert history == {"client_id": "a", "entries": [], "kept_per_client": 20}

    ask(fleet, use)


def test_a_history_the_newest_first():
    fleet = ApiFleet()
    fleet.hear("connected", version=2, at=0)
    fleet.hear("disconnected", version=1, at=3, happened=-1)
    fleet.hear("disconnected", version=2, at=10, disconnectReason="CLIENT_ERROR")
    fleet.wait(20)

    async def use(get: Get) -> None:
        status, history = await get("/clients/a/history")
        assert status == 200
        validate("History", history)
        entries = history["entries"]
        assert entries[0] == {
            "kind": "confirmed_offline",
            "at": "2023-11-14T22:13:35.000Z",
            "since": "2023-11-14T22:13:30.000Z",
            "reason": "CLIENT_ERROR",
        }
        assert [entry["kind"] for entry in entries[1:]] == ["event"] * 3
        ignored = entries[2]
        assert (ignored["effect"], ignored["late_seconds"]) == ("stale", 4.0)
        assert ignored["against"] == {
            "type": "connected",
            "event_time": "2023-11-14T22:13:20.000Z",
            "version": 2,
            "session": "s2",
        }
        _, story = await get("/clients/a")
        assert story["ignored"] == []

    ask(fleet, use)


def test_an_unverified_client_and_its_gap():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)
    fleet.presence.note_gap(START + 1)

    async def use(get: Get) -> None:
        _, story = await get("/clients/a")
        validate("Story", story)
        assert story["verified"] is False
        assert story["unverified"] == {
            "cause": "gap",
            "since": None,
            "reason": None,
            "connection": None,
        }
        fleet.gaps.last = LastGap("presenced", GapReason.SESSION_LOST, START + 1)
        _, story = await get("/clients/a")
        assert story["unverified"] == {
            "cause": "gap",
            "since": "2023-11-14T22:13:21.000Z",
            "reason": "session_lost",
            "connection": "presenced",
        }

    ask(fleet, use)


def test_an_unknown_client_and_one_that_will_be_forgotten():
    fleet = ApiFleet()
    fleet.presence.use_rules(PresenceRules(forget_offline_after=60.0))
    fleet.thing("x", 0)
    fleet.hear("disconnected", "a", at=0)

    async def use(get: Get) -> None:
        _, unknown = await get("/clients/x")
        validate("Story", unknown)
        assert (unknown["state"], unknown["since"], unknown["decided_by"]) == (
            "unknown",
            None,
            None,
        )
        _, offline = await get("/clients/a")
        assert offline["deadline"] == {
            "then": "forgotten",
            "at": "2023-11-14T22:14:20.000Z",
            "held": False,
        }
        _, page = await get("/clients?sort=since")
        assert [client["client_id"] for client in page["clients"]] == ["x", "a"]

    ask(fleet, use)


@pytest.mark.parametrize(
    "client_id",
    ["a/b", "a%2Fb", "a b", "/", "a/history", "%", "ü€😀", "a?b#c&d=e", "..", "<script>", "a\nb"],
)
def test_any_client_id_has_its_path(client_id):
    fleet = ApiFleet()
    fleet.hear("connected", client_id, at=0)

    async def use(get: Get) -> None:
        path = f"/clients/{quote(client_id, safe='')}"
        for asked in (path, path + "/history"):
            status, answer = await get(asked)
            assert (status, answer["client_id"]) == (200, client_id)
        _, page = await get(f"/clients?prefix={quote(client_id, safe='')}")
        assert [client["client_id"] for client in page["clients"]] == [client_id]

    ask(fleet, use)


def test_who_is_offline_why_and_for_how_long():
    fleet = ApiFleet()
    for number, (name, reason) in enumerate(
        [
            ("hall-1/Pump-1", "CONNECTION_LOST"),
            ("hall-1/fan-2", "CLIENT_ERROR"),
            ("hall-2/pump-3", "CONNECTION_LOST"),
            ("hall-2/fan-4", None),
        ]
    ):
        fleet.hear("connected", name, at=number)
        fields = {} if reason is None else {"disconnectReason": reason}
        fleet.hear("disconnected", name, at=60.0 * (number + 1), **fields)
    fleet.hear("connected", "hall-3/pump-5", at=300)
    # Its first event, which is a doubt, with a reason that AWS does not document.
    fleet.hear("disconnected", "hall-9/new", at=300, disconnectReason="SOLAR_FLARE")
    fleet.wait(600)

    async def use(get: Get) -> None:
        async def found(query: str) -> list[str]:
            status, page = await get(f"/clients?{query}")
            assert status == 200, page
            validate("Clients", page)
            assert page["next_cursor"] is None
            return [client["client_id"] for client in page["clients"]]

        lost = ["hall-1/Pump-1", "hall-2/pump-3"]
        assert await found("reason=CONNECTION_LOST") == lost
        both = await found("reason=CONNECTION_LOST&reason=CLIENT_ERROR&sort=-since")
        assert both == ["hall-2/pump-3", "hall-1/fan-2", "hall-1/Pump-1"]
        assert await found("reason=&state=offline") == ["hall-2/fan-4"]
        for reason in ("other", "SOLAR_FLARE"):
            assert await found(f"reason={reason}") == ["hall-9/new"]
        assert await found("contains=PUMP") == [*lost, "hall-3/pump-5"]
        assert await found("contains=pump&state=offline&sort=-since") == lost[::-1]
        # The first is offline for nine minutes, the second for eight.
        assert await found("offline_for=9m") == ["hall-1/Pump-1"]
        assert await found("offline_for=8m&sort=-since") == ["hall-1/fan-2", "hall-1/Pump-1"]
        assert await found("offline_for=8m&state=offline&state=online&contains=f") == [
            "hall-1/fan-2"
        ]
        assert await found("offline_for=9999d") == []
        assert await found("offline_for=0&state=online") == []
        assert await found("in_doubt=true") == ["hall-9/new"]
        assert len(await found("in_doubt=false")) == 5
        fleet.wait(660)
        assert await found("offline_for=9m") == ["hall-1/Pump-1", "hall-1/fan-2"]

    ask(fleet, use)


def test_slashes_may_be_left_unencoded():
    fleet = ApiFleet()
    fleet.hear("connected", "plant/camera/7", at=0)

    async def use(get: Get) -> None:
        for path in ("/clients/plant/camera/7", "/clients/plant/camera%2f7/history"):
            status, answer = await get(path)
            assert (status, answer["client_id"]) == (200, "plant/camera/7")

    ask(fleet, use)


@pytest.mark.parametrize(
    ("query", "parameter", "value", "allowed"),
    [
        ("limit=0", "limit", "0", "a number from 1 to 1000"),
        ("limit=1001", "limit", "1001", "a number from 1 to 1000"),
        ("limit=%D9%A3", "limit", "٣", "a number from 1 to 1000"),
        ("limit=5&limit=6", "limit", "6", "given once"),
        ("sort=name", "sort", "name", "one of client_id, -client_id, since, -since"),
        ("state=gone", "state", "gone", "one of online, pending, offline, unknown"),
        ("in_doubt=yes", "in_doubt", "yes", "one of true, false"),
        ("offline_for=10", "offline_for", "10", "a duration such as 90s, 10m, 1h30m or 7d"),
        ("offline_for=1m&offline_for=2m", "offline_for", "2m", "given once"),
        ("class=site", "class", "site", "NAME:VALUE with one of the names site, line"),
        ("class=x:y", "class", "x:y", "NAME:VALUE with one of the names site, line"),
        (
            "cursor=%21",
            "cursor",
            "!",
            "the next_cursor of a page with the same sort, here client_id",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(query, parameter, value, allowed):
    async def use(get: Get) -> None:
        status, problem = await get(f"/clients?{query}")
        assert problem == {
            "title": "Bad Request",
            "status": 400,
            "detail": f"the parameter {parameter} must be {allowed}",
            "parameter": parameter,
            "value": value,
            "allowed": allowed,
        }
        assert status == 400
        validate("Problem", problem)

    ask(ApiFleet(metrics={"client_id_pattern": "(?P<site>[a-z]+)-(?P<line>.*)"}), use)


def test_an_unknown_parameter_is_named_with_the_nearest():
    async def use(get: Get) -> None:
        status, problem = await get("/clients?stat=online")
        assert status == 400
        assert problem["detail"] == "unknown parameter stat; did you mean state?"
        validate("Problem", problem)
        for path in ("/clients/a?x=1", "/summary?x=1", "/openapi.json?x=1", "/events?x=1"):
            assert (await get(path))[0] == 400

    ask(ApiFleet(), use)


def test_unknown_paths_clients_and_methods_are_problems():
    async def use(get: Get) -> None:
        status, problem = await get("/clients/missing")
        assert (status, problem["parameter"], problem["value"]) == (404, "client_id", "missing")
        assert (await get("/nothing"))[0] == 404
        status, problem = await get("/clients/%ff")
        assert (status, problem["parameter"]) == (400, "client_id")
        status, problem = await get("/clients", "POST")
        assert (status, problem["allowed"]) == (405, ["GET", "HEAD"])
        status, problem = await get("/clients?class=a:b")
        assert "metrics.client_id_pattern" in problem["detail"]

    ask(ApiFleet(), use)


def test_the_head_of_every_answer_can_be_asked_for():
    fleet = ApiFleet()
    fleet.hear("connected", at=0)

    async def use(get: Get) -> None:
        for path in ("/clients", "/clients/a", "/clients/a/history", "/summary", "/openapi.json"):
            assert await get(path, "HEAD") == (200, None)

    ask(fleet, use)


def test_the_fleet_in_numbers():
    fleet = ApiFleet()
    fleet.thing("t", 0, thingTypeName="pump")
    fleet.join("t", "south", 0)
    fleet.hear("connected", "a", at=0)
    fleet.hear("connected", "b", at=0)
    fleet.hear("disconnected", "b", at=1, disconnectReason="CONNECTION_LOST")
    fleet.wait(60)

    async def use(get: Get) -> None:
        status, summary = await get("/summary")
        validate("Summary", summary)
        assert status == 200
        assert summary == {
            "version": summary["version"],
            "time": "2023-11-14T22:14:20.000Z",
            "ready": True,
            "readiness": "ready",
            "partitions": None,
            "clients": {"online": 1, "pending": 0, "offline": 1, "unknown": 1},
            "unverified": 0,
            "in_doubt": {"clients": {"online": 0, "pending": 0, "offline": 0}, "since": None},
            "aws": None,
            "transitions": {"online": 2, "offline": 1},
            "flaps_suppressed": 0,
            "disconnects": {"CONNECTION_LOST": 1},
            "things_by_presence": {"online": 0, "pending": 0, "offline": 0, "unknown": 1},
            "things": 1,
            "thing_types": 1,
            "thing_groups": 1,
        }

    ask(fleet, use)


def test_how_many_are_in_doubt_and_since_when():
    fleet = ApiFleet()
    for name in ("a", "b", "c"):
        fleet.hear("connected", name, at=0)
    fleet.hear("disconnected", "c", at=1)
    fleet.wait(60)
    fleet.presence.note_gap(START + 30)

    async def use(get: Get) -> None:
        _, summary = await get("/summary")
        validate("Summary", summary)
        assert summary["in_doubt"] == {
            "clients": {"online": 2, "pending": 0, "offline": 1},
            "since": "2023-11-14T22:13:50.000Z",
        }
        for name, connected in (("a", True), ("b", True), ("c", False)):
            fleet.asked(name, connected=connected, since=20, at=120)
        _, summary = await get("/summary")
        assert summary["in_doubt"] == {
            "clients": {"online": 0, "pending": 0, "offline": 0},
            "since": None,
        }, "a settling snapshot ends the gap"

    ask(fleet, use)


def test_requests_to_aws_and_what_they_did(tmp_path: Path):
    async def run() -> None:
        fleet = ApiFleet(settings=asking_settings(tmp_path / "presenced.yaml"))
        fleet.asked("new", connected=True, since=-60, at=0)
        fleet.hear("connected", "lost", at=0)
        fleet.presence.note_gap(START + 10)
        fleet.asked("lost", connected=False, since=1000, at=2000)
        async with fleet.served() as get:
            await use(get, fleet.reconciler)
        await fleet.reconciler.stop()

    async def use(get: Get, reconciler: Reconciler) -> None:
        _, summary = await get("/summary")
        validate("Summary", summary)
        assert summary["aws"] == {
            "problems": [],
            "failed_requests": [],
            "last_snapshot": None,
            "adopted": 1,
            "corrections": {"online": 0, "offline": 1},
            "offlines_prevented": 0,
        }
        denied = AwsError(Cause.DENIED, "SearchIndex", "not allowed", "Add this.", status=403)
        reconciler.counts.count("SearchIndex", denied)
        reconciler.counts.count("SearchIndex", None)
        reconciler.snapshots.error = denied
        reconciler.snapshots.completed_at = START + 60
        reconciler.snapshots.duration, reconciler.snapshots.things = 1.5, 250
        _, summary = await get("/summary")
        validate("Summary", summary)
        assert summary["aws"] | {"adopted": 0, "corrections": {}} == {
            "problems": ["AWS cannot be asked: SearchIndex: not allowed. Add this."],
            "failed_requests": [{"operation": "SearchIndex", "result": "denied", "count": 1}],
            "last_snapshot": {"at": "2023-11-14T22:14:20.000Z", "seconds": 1.5, "things": 250},
            "adopted": 0,
            "corrections": {},
            "offlines_prevented": 0,
        }
        _, story = await get("/clients/lost")
        validate("Story", story)
        assert (story["decided_by"], story["record_time"]) == (None, "2023-11-14T22:30:00.000Z")
        _, history = await get("/clients/lost/history")
        validate("History", history)
        assert history["entries"][0] == {
            "kind": "record",
            "at": "2023-11-14T22:46:40.000Z",
            "effect": "corrected",
            "operation": "SearchIndex",
            "connected": False,
            "record_time": "2023-11-14T22:30:00.000Z",
        }

    asyncio.run(run())


def test_pages_follow_one_another():
    fleet = ApiFleet()
    for number in range(25):
        fleet.hear("connected", f"c{number:02}", at=number % 7)

    async def use(get: Get) -> None:
        for sort in Order:
            seen, cursor = [], ""
            for _ in range(3):
                _, page = await get(f"/clients?sort={sort}&limit=10{cursor}")
                validate("Clients", page)
                seen += [client["client_id"] for client in page["clients"]]
                cursor = f"&cursor={page['next_cursor']}"
            assert page["next_cursor"] is None
            assert len(set(seen)) == len(seen) == 25
        _, page = await get("/clients?limit=10")
        status, _ = await get(f"/clients?sort=since&cursor={page['next_cursor']}")
        assert status == 400, "a cursor is one of its own order"

    ask(fleet, use)


KEYS = st.one_of(
    st.tuples(st.sampled_from(["client_id", "-client_id"]), st.text(st.characters(codec="utf-8"))),
    st.tuples(
        st.sampled_from(["since", "-since"]),
        st.tuples(st.floats(-1.0, 1e12), st.text(st.characters(codec="utf-8"))),
    ),
)


@given(KEYS)
def test_a_cursor_is_read_as_it_was_written(written):
    order, key = Order(written[0]), written[1]
    assert read_cursor(write_cursor(order, key), order) == key


@settings(max_examples=300)
@given(
    st.text()
    | st.from_regex("[A-Za-z0-9_-]{0,60}", fullmatch=True)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(Order),
        lambda inner: st.lists(inner, max_size=3),
    ).map(lambda value: write_cursor(Order.SINCE, value) if not isinstance(value, str) else value),
    st.sampled_from(Order),
)
def test_anything_but_a_cursor_is_refused_as_a_problem(text, order):
    with suppress(ProblemError):
        assert isinstance(read_cursor(text, order), tuple) is order.by_since
