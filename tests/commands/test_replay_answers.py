"""`presenced replay` of recordings that hold answers of AWS: the rules of merging, one by one."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from command_line import run_here
from presenced.commands.recorded_answers import read_answers
from presenced.commands.replay import Replay
from presenced.settings import load_settings
from presenced.sources.recording import read_recording

START = 1_700_000_000.0
T = 2.0
DELAY = 5.0
PUBLISHED = Path(__file__).parents[1] / "aws" / "answers.jsonl"

Line = dict[str, Any]


def event(kind: str, client_id: str, at: float, version: int = 1, **fields: Any) -> Line:
    """A lifecycle event that is received when it happens; times are seconds after the start."""
    payload = {
        "clientId": client_id,
        "timestamp": round((START + fields.pop("stamped", at)) * 1000),
        "eventType": kind,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        **({"disconnectReason": "CONNECTION_LOST"} if kind == "disconnected" else {}),
        **fields,
    }
    topic = f"$aws/events/presence/{kind}/{client_id}"
    return {"received": START + at, "topic": topic, "payload": payload}


def connected(client_id: str, at: float, version: int = 1, **fields: Any) -> Line:
    return event("connected", client_id, at, version, **fields)


def disconnected(client_id: str, at: float, version: int = 1, **fields: Any) -> Line:
    return event("disconnected", client_id, at, version, **fields)


def row(client_id: str, *, online: bool, since: float | None, **fields: Any) -> Line:
    connectivity: Line = {"connected": online, "clientId": client_id}
    if since is not None:
        connectivity["timestamp"] = round((START + since) * 1000)
    if not online and since is not None:
        connectivity["disconnectReason"] = "MQTT_KEEP_ALIVE_TIMEOUT"
    return {"thingName": client_id, "connectivity": connectivity, **fields}


def page(at: float, *rows: Line, asked: float | None = None, next_token: str | None = None) -> Line:
    return {
        "received": START + at,
        "asked": START + (at if asked is None else asked),
        "operation": "SearchIndex",
        "answer": {"things": list(rows), "nextToken": next_token},
    }


def connectivity(client_id: str, at: float, *, online: bool, since: float | None) -> Line:
    """An answer of GetThingConnectivityData, whose time is in seconds."""
    answer: Line = {"thingName": client_id, "connected": online, "disconnectReason": "NONE"}
    if since is not None:
        answer["timestamp"] = START + since
    return lookup("GetThingConnectivityData", client_id, at, answer)


def connection(client_id: str, at: float, *, online: bool, since: float) -> Line:
    key = "connectedSince" if online else "disconnectedSince"
    answer = {"clientId": client_id, "connected": online, key: round((START + since) * 1000)}
    return lookup("GetConnection", client_id, at, answer)


def lookup(operation: str, client_id: str, at: float, answer: Line) -> Line:
    return {
        "received": START + at,
        "asked": START + at - 0.05,
        "operation": operation,
        "client_id": client_id,
        "answer": answer,
    }


def settings_with(**keys: Any) -> Any:
    overrides = {
        "presence.timestamp_accuracy": f"{T:.0f}s",
        "presence.offline_delay": f"{DELAY:.0f}s",
        "reconcile.enabled": True,
        **keys,
    }
    return load_settings(None, environ={}, overrides=overrides, require_endpoint=False)


def replayed(lines: Iterable[Line], shown: Any, *, settle: bool = True, **keys: Any) -> str:
    out = io.BytesIO()
    problems: list[str] = []

    def skip(number: int, why: str) -> None:
        problems.append(f"{number}: {why}")

    encoded = (json.dumps(line).encode() for line in lines)
    items = read_answers(read_recording(encoded, skip), skip)
    Replay(settings_with(**keys), out, shown).run(items, settle=settle)
    assert problems == []
    return out.getvalue().decode()


def clients(*lines: Line, **keys: Any) -> dict[str, Line]:
    shown = map(json.loads, replayed(lines, "clients", **keys).splitlines())
    return {client["client_id"]: client for client in shown}


def states(*lines: Line, **keys: Any) -> dict[str, str]:
    return {name: client["state"] for name, client in clients(*lines, **keys).items()}


def transitions(*lines: Line, **keys: Any) -> list[tuple[float, str, str]]:
    """When (seconds after the start), who, and where to."""
    shown = map(json.loads, replayed(lines, "transitions", **keys).splitlines())
    return [(round(each["time"] - START, 3), each["client_id"], each["to"]) for each in shown]


def metrics(*lines: Line, **keys: Any) -> dict[str, float]:
    """The samples that are not 0, as `name{label="value"}`."""
    families = text_string_to_metric_families(replayed(lines, "metrics", **keys))
    samples = (sample for family in families for sample in family.samples)
    return {
        name + ",".join(f"{{{key}={value}}}" for key, value in sorted(labels.items())): value
        for name, labels, value, *_ in samples
        if value
    }


OFFLINE_FOR_LONG = -40 * 86400.0

UNKNOWN_CLIENTS = page(
    0,
    row("online", online=True, since=-900),
    row("offline", online=False, since=-600),
    row("pending", online=False, since=-1),
    row("never", online=False, since=None),
    row("long-gone", online=False, since=OFFLINE_FOR_LONG),
)


@pytest.mark.parametrize("enabled", [True, False])
def test_clients_that_no_event_has_told_are_adopted(enabled: bool) -> None:
    keys = {"reconcile.enabled": enabled}
    found = clients(UNKNOWN_CLIENTS, settle=False, **keys)
    assert {name: client["state"] for name, client in found.items()} == {
        "online": "online",
        "offline": "offline",
        "pending": "pending",
        "never": "unknown",
        "long-gone": "unknown",
    }
    assert found["online"]["since"] == START - 900
    assert found["offline"]["since"] == START - 600
    assert found["offline"]["reason"] == "MQTT_KEEP_ALIVE_TIMEOUT"
    assert found["offline"]["version"] is None
    shown = metrics(UNKNOWN_CLIENTS, settle=False, **keys, **{"reconcile.seed_registry": False})
    assert shown["iot_clients_adopted_total{state=online}"] == 1
    assert shown["iot_clients_adopted_total{state=unknown}"] == 2
    assert not any(name.startswith("iot_client_transitions") for name in shown)
    assert shown["iot_clients{state=pending}"] == 1


def test_a_row_without_connectivity_tells_nothing_about_its_client() -> None:
    line = page(1, {"thingName": "old-1", "attributes": {"a": "b"}})
    assert states(line) == {"old-1": "unknown"}, "a thing without a known client"
    assert states(line, **{"reconcile.seed_registry": False}) == {}


def test_own_and_ignored_clients_are_not_adopted() -> None:
    names = ("presenced", "iotconsole-1", "pump")
    line = page(1, *(row(name, online=True, since=-1) for name in names))
    keys = {"presence.ignore_clients": ["iotconsole-*"]}
    assert states(line, **keys) == {"pump": "online"}
    assert metrics(line, **keys)["iot_things"] == 3


def test_a_later_row_corrects_an_adopted_state_only_while_that_is_provisional() -> None:
    """The settings of these tests make pages from 2 seconds after the start settle."""
    first = row("pump", online=False, since=-600)
    second = page(60, row("pump", online=True, since=30))
    provisional = (page(0, first), second)
    assert states(*provisional) == {"pump": "online"}
    assert (
        metrics(*provisional)["iot_client_corrections_total{operation=SearchIndex},{to=online}"]
        == 1
    )
    assert transitions(*provisional) == [(60, "pump", "online")]
    settled = (connected("x", 0), page(T, first), second)
    assert states(*settled)["pump"] == "offline", "verified: a lookup decides"


def test_a_snapshot_settles_if_its_first_page_was_asked_for_late_enough() -> None:
    later_page = page(30, row("pump", online=False, since=-600))
    contradiction = page(60, row("pump", online=True, since=30))
    of_early = (page(1, next_token="more"), later_page, contradiction)
    of_late = (connected("x", 0), page(T, next_token="more"), later_page, contradiction)
    assert states(*of_early)["pump"] == "online"
    assert states(*of_late)["pump"] == "offline"


def test_a_stale_row_changes_nothing_and_one_near_the_event_is_looked_up() -> None:
    """A client whose first event is a disconnect is unverified."""
    offline = disconnected("pump", 10)
    assert states(offline, page(60, row("pump", online=True, since=5))) == {"pump": "offline"}
    near = page(60, row("pump", online=True, since=11))
    assert states(offline, near) == {"pump": "offline"}
    answer = connectivity("pump", 61, online=True, since=11)
    assert states(offline, near, answer) == {"pump": "online"}
    later = page(60, row("pump", online=True, since=40))
    assert states(offline, later) == {"pump": "online"}


VERIFIED = (connected("pump", 0), page(60, row("pump", online=False, since=30)))


def test_a_row_that_contradicts_a_verified_client_leads_to_a_lookup() -> None:
    assert states(*VERIFIED) == {"pump": "online"}, "no answer is recorded"
    answer = connectivity("pump", 60.5, online=False, since=30)
    assert states(*VERIFIED, answer) == {"pump": "offline"}
    shown = metrics(*VERIFIED, answer)
    assert (
        shown["iot_client_corrections_total{operation=GetThingConnectivityData},{to=offline}"] == 1
    )
    agrees = connectivity("pump", 60.5, online=True, since=0)
    assert states(*VERIFIED, agrees) == {"pump": "online"}


def test_a_row_without_a_time_changes_nothing_for_a_known_client() -> None:
    line = page(60, row("pump", online=False, since=None))
    assert states(connected("pump", 0), line) == {"pump": "online"}


def test_events_received_after_the_page_was_asked_for_beat_its_row() -> None:
    before = page(10, row("pump", online=False, since=-600))
    during = page(10, row("pump", online=False, since=-600), asked=8)
    assert clients(connected("pump", 9), before)["pump"]["version"] == 1
    assert states(connected("pump", 9), during) == {"pump": "online"}


def test_an_event_received_later_that_happened_long_before_is_judged_by_time() -> None:
    old = connected("pump", 9, stamped=1)
    newer = page(10, row("pump", online=False, since=4), asked=8)
    assert states(old, newer) == {"pump": "offline"}
    near = page(10, row("pump", online=False, since=2), asked=8)
    assert states(old, near) == {"pump": "online"}
    answer = connectivity("pump", 10.5, online=False, since=2)
    assert states(old, near, answer) == {"pump": "offline"}


def test_events_are_judged_by_time_after_adopting() -> None:
    adopted = page(10, row("pump", online=True, since=5))
    assert states(adopted, disconnected("pump", 11, stamped=1)) == {"pump": "online"}, "stale"
    assert states(adopted, disconnected("pump", 30)) == {"pump": "offline"}


@pytest.mark.parametrize(("answered", "state"), [(None, "online"), (False, "offline")])
def test_a_takeover_leads_offline_only_after_a_lookup(answered: bool | None, state: str) -> None:
    lines = [
        page(0, row("pump", online=True, since=-600)),
        disconnected("pump", 100, disconnectReason="DUPLICATE_CLIENTID"),
    ]
    if answered is not None:
        lines.append(connectivity("pump", 105.1, online=answered, since=100))
    assert states(*lines) == {"pump": state}


LOST = (connected("pump", 0), disconnected("pump", 100))


@pytest.mark.parametrize(
    "answer",
    [
        connectivity("pump", 106, online=True, since=101),
        connection("pump", 106, online=True, since=101),
        connectivity("pump", 107, online=True, since=101),
    ],
    ids=["thing", "connection", "at the last moment"],
)
def test_a_client_that_aws_calls_connected_does_not_go_offline(answer: Line) -> None:
    assert transitions(*LOST, answer) == [(0, "pump", "online")]
    shown = metrics(*LOST, answer)
    assert shown["iot_client_offline_prevented_total"] == 1
    assert shown["iot_clients{state=online}"] == 1


def test_an_answer_confirms_that_a_client_is_offline() -> None:
    answer = connectivity("pump", 105.5, online=False, since=100)
    assert transitions(*LOST, answer) == [(0, "pump", "online"), (105.45, "pump", "offline")]
    assert "iot_client_offline_prevented_total" not in metrics(*LOST, answer)


@pytest.mark.parametrize(
    "more",
    [
        (),
        (connected("other", 200),),
        (connectivity("other", 106, online=True, since=101),),
        (connectivity("pump", 107.1, online=False, since=100),),
        (lookup("GetThingConnectivityData", "pump", 104, {"connected": False}),),
    ],
    ids=["end", "message", "another client", "too late", "too early"],
)
def test_a_client_goes_offline_in_time_without_an_answer(more: tuple[Line, ...]) -> None:
    lines = sorted((*LOST, *more), key=lambda line: float(line["received"]))
    shown = [each for each in transitions(*lines) if each[1] == "pump"]
    assert shown[:2] == [(0, "pump", "online"), (105, "pump", "offline")]


def test_an_answer_that_comes_too_late_corrects() -> None:
    answer = connectivity("pump", 107.1, online=True, since=101)
    assert transitions(*LOST, answer)[1:] == [(105, "pump", "offline"), (107.05, "pump", "online")]


def test_several_clients_wait_each_for_its_own_answer() -> None:
    names = [f"pump-{number}" for number in range(4)]
    lines = [connected(name, 0) for name in names]
    lines += [disconnected(name, 100 + number / 10) for number, name in enumerate(names)]
    lines += [connectivity(name, 106, online=True, since=103) for name in names[::2]]
    lines += [connected("late", 300)]
    assert transitions(*lines)[4:] == [
        (105.1, "pump-1", "offline"),
        (105.3, "pump-3", "offline"),
        (300, "late", "online"),
    ]


def test_beyond_the_budget_clients_go_offline_unasked() -> None:
    names = ["a", "b", "c"]
    lines = [connected(name, 0) for name in names] + [disconnected(name, 100) for name in names]
    lines += [connectivity(name, 106, online=True, since=90) for name in names]
    keys = {"reconcile.lookups_per_second": 1.0}
    shown = transitions(*lines, **keys)
    assert [each for each in shown if each[2] == "offline"] == [
        (105, "c", "offline"),  # `b` waits for its turn
    ]


@pytest.mark.parametrize(
    "keys", [{"reconcile.enabled": False}, {"reconcile.verify_offline": "never"}], ids=str
)
def test_no_client_waits_if_the_settings_do_not_say_so(keys: dict[str, Any]) -> None:
    answer = connectivity("pump", 106, online=True, since=101)
    expected = [(105, "pump", "offline"), (105.95, "pump", "online")]
    assert transitions(*LOST, answer, **keys)[1:] == expected


def test_only_unverified_clients_wait_if_the_settings_say_so() -> None:
    """A client that a provisional page made known is unverified."""
    lines = [page(0, row("unsure", online=False, since=-1)), connected("sure", 1)]
    lines += [connectivity("unsure", 5, online=True, since=3)]
    lines += [disconnected("sure", 100), connectivity("sure", 106, online=True, since=101)]
    shown = transitions(*lines, **{"reconcile.verify_offline": "unverified"})
    assert (105, "sure", "offline") in shown
    assert not any(name == "unsure" for _, name, _ in shown)


def test_a_connect_while_a_client_waits_ends_the_wait() -> None:
    answer = connectivity("pump", 106.5, online=False, since=100)
    lines = (*LOST, connected("pump", 105.5, version=2), answer)
    assert states(*lines) == {"pump": "online"}
    assert "iot_client_transitions_total{to=offline}" not in metrics(*lines)


def test_the_registry_comes_from_rows() -> None:
    pump = row(
        "pump",
        online=True,
        since=-1,
        thingId="i1",
        thingTypeName="pump",
        thingGroupNames=["hall-1"],
        attributes={"site": "north"},
    )
    keys = {"metrics.thing_attributes": ["site"]}
    shown = metrics(page(10, pump), **keys)
    assert shown["iot_thing_type_clients{state=online},{thing_type=pump}"] == 1
    assert shown["iot_thing_group_clients{state=online},{thing_group=hall-1}"] == 1
    assert shown["iot_client_info{client_id=pump},{site=north},{thing_type=pump}"] == 1
    without = metrics(page(10, pump), **keys, **{"reconcile.seed_registry": False})
    assert "iot_things" not in without
    assert without["iot_clients{state=online}"] == 1


def test_a_deleted_thing_does_not_return_with_a_row() -> None:
    deleted = {
        "received": START + 20,
        "topic": "$aws/events/thing/pump/deleted",
        "payload": {
            "eventType": "THING_EVENT",
            "operation": "DELETED",
            "thingName": "pump",
            "thingId": "i1",
            "versionNumber": 2,
            "timestamp": round((START + 20) * 1000),
        },
    }
    late = page(60, row("pump", online=True, since=-1, thingId="i1"))
    assert states(deleted, late) == {}


def test_answers_as_aws_publishes_them() -> None:
    lines = []
    for number, published in enumerate(map(json.loads, PUBLISHED.read_text().splitlines())):
        operation, body = published["operation"], published["body"]
        if published["status"] != 200 or operation not in (
            "SearchIndex",
            "GetThingConnectivityData",
            "GetConnection",
        ):
            continue
        received = 1_764_200_400.0 + number
        line = {"received": received, "asked": received, "operation": operation, "answer": body}
        if operation != "SearchIndex":
            line["client_id"] = body.get("clientId") or body["thingName"]
        lines.append(line)
    found = clients(*lines)
    assert {name: client["state"] for name, client in found.items()} == {
        "pump-1": "online",
        "pump-2": "offline",
        "new-1": "unknown",
        "old-1": "unknown",
        "backend-7": "offline",
        "odd-1": "online",
    }
    assert found["pump-1"]["since"] == 1_764_200_000.123, "seconds and milliseconds"
    assert found["pump-2"]["reason"] == "MQTT_KEEP_ALIVE_TIMEOUT"
    assert found["backend-7"]["since"] == 1_764_200_300.0


ANSWER = page(1, row("pump", online=True, since=0))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"operation": "ListThings"}, "ListThings"),
        ({"operation": None}, "operation"),
        ({"asked": None}, "asked"),
        ({"asked": START + 2}, "asked is later than received"),
        ({"received": -1}, "received"),
        ({"answer": "text"}, "not an answer of SearchIndex"),
        ({"answer": {"things": [{"thingName": 7}]}}, "not an answer of SearchIndex"),
        ({"operation": "GetConnection"}, "GetConnection needs client_id"),
        ({"operation": "GetConnection", "client_id": "a"}, "not an answer of GetConnection"),
    ],
    ids=lambda each: json.dumps(each)[:40],
)
def test_an_odd_answer_is_told_with_its_line_and_skipped(changed: Line, why: str) -> None:
    recording = "\n".join(json.dumps(line) for line in (connected("a", 0), ANSWER | changed))
    done = run_here("replay", "--print", "clients", "-", given=recording)
    assert done.returncode == 1
    assert [json.loads(line)["client_id"] for line in done.stdout.splitlines()] == ["a"]
    assert "-:2: skipped, not a recorded message or answer: " in done.stderr
    assert why in done.stderr
