"""The API of `presenced run`, with events from a mosquitto."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from brokers import Mosquitto, free_port, missing
from daemons import Daemon
from presenced.web.api.history import Effect
from waiting import wait_for

METRICS = {"client_id_pattern": "(?P<site>[a-z]+)/(?P<line>[0-9]+)", "thing_attributes": ["room"]}
SITES = ("berlin", "oslo")
KNOWN = ("oslo%2F1", "oslo%2F15", "berlin%2F0", "hostile%2F%3Cscript%3E")


def event(client_id: str, kind: str, version: int, **fields: Any) -> tuple[str, bytes]:
    payload = {
        "clientId": client_id,
        "timestamp": 1_700_000_000_000 + version,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        "principalIdentifier": "a-principal",
        "ipAddress": "192.0.2.7",
        **fields,
    }
    return f"$aws/events/presence/{kind}/{client_id}", json.dumps(payload).encode()


def life() -> Iterator[tuple[str, bytes]]:
    """Forty clients: some online, some offline, some with ignored events, one a thing."""
    for number in range(40):
        client_id = f"{SITES[number % 2]}/{number}"
        yield event(client_id, "connected", 1)
        if number % 3 == 0:
            yield event(client_id, "disconnected", 1, disconnectReason="CONNECTION_LOST")
        if number % 5 == 0:
            yield event(client_id, "connected", 3)
            yield event(client_id, "disconnected", 2)
            yield event(client_id, "connected", 3)
    thing = {
        "thingName": "oslo/1",
        "thingId": "t1",
        "versionNumber": 1,
        "thingTypeName": "pump",
        "attributes": {"room": "7"},
    }
    yield "$aws/events/thing/oslo%2F1/created", json.dumps(thing).encode()
    yield event("hostile/<script>", "connected", 1)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that knows a fleet."""
    broker_directory = tmp_path_factory.mktemp("broker")
    broker = Mosquitto(broker_directory)
    broker.start()
    made = Daemon(
        tmp_path_factory.mktemp("daemon"),
        broker=broker,
        metrics=METRICS,
        presence={"offline_delay": "0s"},
    )
    try:
        made.start()
        made.wait_until_ready()
        events = list(life())
        broker.publish(events)
        wait_for(lambda: taken(made) == len(events), what="all events")
        yield made
    finally:
        made.stop()
        broker.stop()


def taken(daemon: Daemon) -> float:
    return sum(value for (name, _), value in daemon.scrape().items() if name == "iot_events_total")


def get(daemon: Daemon, path: str) -> Any:
    status, text = daemon.get(f"/api/v1{path}")
    assert status == 200, text
    return json.loads(text)


@pytest.fixture(scope="module")
def described(daemon: Daemon) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{daemon.port}/api/v1/openapi.json")


def test_the_api_is_what_its_document_says(described: Any) -> None:
    schema = described.exclude(path="/api/v1/events")  # its answers have no end
    operations = [result.ok() for result in schema.get_all_operations()]
    # The document itself is what this begins with.
    assert len(operations) == 7
    for operation in operations:
        conform(operation, GenerationMode.POSITIVE)
        if operation.query:  # a path holds any text: nothing in it is wrong
            conform(operation, GenerationMode.NEGATIVE)


def conform(operation: Any, mode: GenerationMode) -> None:
    """See that an operation answers as it says, to what is right or to what is wrong."""

    @settings(
        max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode), st.none() | st.sampled_from(KNOWN))
    def conforms(case: schemathesis.Case, known: str | None) -> None:
        if known and "client_id" in (case.path_parameters or {}):
            case.path_parameters["client_id"] = known
        # Which cursors there are is more than a schema can say.
        is_cursor = "cursor" in (case.query or {})
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if is_cursor else [])

    conforms()


def test_lists_are_what_the_metrics_say(daemon: Daemon) -> None:
    for state in ("online", "offline"):
        page = get(daemon, f"/clients?state={state}&sort=-since&limit=1000")
        assert len(page["clients"]) == daemon.value("iot_clients", state=state)
        times = [client["since"] for client in page["clients"]]
        assert times == sorted(times, reverse=True)
    page = get(daemon, "/clients?class=site:oslo&class=line:1")
    assert [client["client_id"] for client in page["clients"]] == ["oslo/1"]
    summary = get(daemon, "/summary")
    assert summary["clients"]["online"] == daemon.value("iot_clients", state="online")
    assert summary["ready"] is True


def test_a_client_tells_what_was_ignored_and_no_secret(daemon: Daemon) -> None:
    text = daemon.get("/api/v1/clients/oslo%2F15")[1]
    story = json.loads(text)
    assert story["decided_by"]["version"] == 3
    assert [each["effect"] for each in story["ignored"]] == ["stale", "duplicate"]
    assert "was ignored" in story["explanation"]
    history = daemon.get("/api/v1/clients/oslo%2F15/history")[1]
    for secret in ("a-principal", "192.0.2.7"):
        assert secret not in text + history


def test_the_thing_of_a_client(daemon: Daemon) -> None:
    story = get(daemon, "/clients/hostile%2F%3Cscript%3E")
    assert (story["client_id"], story["thing"]) == ("hostile/<script>", None)


class Stream:
    """Server-sent events as they come."""

    def __init__(self, daemon: Daemon, path: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)
        self._connection.request("GET", f"/api/v1/events{path}", headers=headers)
        self.answer = self._connection.getresponse()

    def next(self) -> dict[str, str]:
        """The next block of lines; comments are under an empty name."""
        fields = {}
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields

    def close(self) -> None:
        self._connection.close()


@contextmanager
def fleet_of(daemon_of: Any, broker_of: Any, **sections: Any) -> Iterator[tuple[Daemon, Mosquitto]]:
    broker = broker_of()
    daemon = daemon_of(broker=broker, **sections)
    daemon.wait_until_ready()
    yield daemon, broker


def test_transitions_are_told_as_they_happen(daemon_of: Any, broker_of: Any) -> None:
    with fleet_of(daemon_of, broker_of) as (daemon, broker):
        stream, offline = Stream(daemon), Stream(daemon, "?state=offline")
        with closing(stream), closing(offline):
            assert stream.answer.headers["Content-Type"] == "text/event-stream"
            assert stream.answer.headers["Cache-Control"] == "no-store"
            begin = stream.next()
            assert (begin["retry"], begin[""]) == ("2000", "listening")
            offline.next()
            broker.publish([event("b", "connected", 1), event("a", "disconnected", 1)])
            first = stream.next()
            assert first["event"] == "transition"
            data = json.loads(first["data"])
            assert (data["client_id"], data["previous"], data["state"]) == (
                "b",
                "unknown",
                "online",
            )
            second = stream.next()
            assert json.loads(second["data"])["client_id"] == "a"
            assert json.loads(offline.next()["data"])["client_id"] == "a"
        with closing(Stream(daemon, **{"Last-Event-ID": first["id"]})) as again:
            again.next()
            assert again.next() == second
        with closing(Stream(daemon, **{"Last-Event-ID": "of-another-1"})) as other:
            other.next()
            assert other.next() == {"event": "lost", "data": '{"count":null}'}


def test_an_open_stream_does_not_keep_the_daemon_from_stopping(
    daemon_of: Any, broker_of: Any
) -> None:
    with fleet_of(daemon_of, broker_of) as (daemon, _):
        streams = [Stream(daemon) for _ in range(5)]
        for stream in streams:
            stream.next()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(timeout=5) == 0
        for stream in streams:
            assert stream.answer.read() == b""
            stream.close()


def test_the_number_of_streams_is_limited(daemon_of: Any, broker_of: Any) -> None:
    with fleet_of(daemon_of, broker_of) as (daemon, _):
        streams = [Stream(daemon) for _ in range(32)]
        status, text = daemon.get("/api/v1/events")
        assert (status, json.loads(text)["title"]) == (503, "Service Unavailable")
        for stream in streams:
            stream.close()
        wait_for(lambda: Stream(daemon).answer.status == 200, what="room")


def test_a_slow_reader_learns_how_much_it_lost(daemon_of: Any, broker_of: Any) -> None:
    quiet = {"log": {"level": "warning"}, "presence": {"offline_delay": "0s"}}
    with fleet_of(daemon_of, broker_of, **quiet) as (daemon, broker):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.settimeout(20)
            listener.connect(("127.0.0.1", daemon.port))
            listener.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            version = 0
            name = "x" * 1000
            # As much as fits between the two, and then more than may wait.
            while True:
                burst = []
                for _ in range(2000):
                    version += 1
                    burst.append(event(name, "connected", version))
                    burst.append(event(name, "disconnected", version))
                broker.publish(burst)
                wait_for(lambda: taken(daemon) == 2 * version, what="all events")  # noqa: B023
                if version >= 8000:
                    break
            received = b""
            while b"event: lost" not in received:
                piece = listener.recv(1 << 20)
                assert piece, "the daemon has hung up"
                received += piece
            while b'{"count":' not in received.partition(b"event: lost")[2]:
                received += listener.recv(1 << 20)
        assert daemon.ready


def test_the_web_configuration_protects_the_api(daemon_of: Any, tmp_path: Any) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": hashed}}))
    health = f"127.0.0.1:{free_port()}"
    daemon = daemon_of(metrics={"web_config": str(web), "health_listen": health})
    for path in ("/clients", "/clients/a", "/summary", "/events", "/openapi.json", "/nothing"):
        assert daemon.get(f"/api/v1{path}")[0] == 401
    # cHJvbWV0aGV1czpzZWNyZXQ= is prometheus:secret.
    status, _ = daemon.get("/api/v1/clients", Authorization="Basic cHJvbWV0aGV1czpzZWNyZXQ=")
    assert status == 200
    assert daemon.get("/api/v1/clients", daemon.health_port)[0] == 404


def commands() -> list[str]:
    """The commands of docs/reference/api.md."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_commands_of_the_docs(daemon_of: Any, broker_of: Any) -> None:
    if shutil.which("curl") is None:
        missing("curl is not installed: apt-get install curl")
    pattern = {"metrics": {"client_id_pattern": "(?P<site>[a-z]+)-.*"}}
    with fleet_of(daemon_of, broker_of, **pattern) as (daemon, broker):
        broker.publish([event("plant/camera-0003", "connected", 1)])
        wait_for(lambda: taken(daemon) == 1)
        assert len(commands()) == 15
        for command in commands():
            here = command.replace("localhost:9883", f"127.0.0.1:{daemon.port}")
            done = subprocess.run(here, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode == 0, command
            if "/events" not in command:
                assert json.loads(done.stdout)


def test_the_docs_name_every_parameter_path_and_effect(daemon: Daemon) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
    document = get(daemon, "/openapi.json")
    named = [f"`{path}`" for path in document["paths"]]
    for path in document["paths"].values():
        named += [f"`{parameter['name']}`" for parameter in path["get"]["parameters"]]
    named += [f"`{effect}`" for effect in Effect]
    assert [name for name in named if name not in text and name != "`client_id`"] == []


def test_without_the_api_nothing_answers_below_it(daemon_of: Any) -> None:
    daemon = daemon_of(metrics={"api": False})
    assert daemon.get("/api/v1/clients")[0] == 404
    assert daemon.get("/metrics")[0] == 200


def test_a_reload_takes_on_other_classes(daemon_of: Any, broker_of: Any) -> None:
    with fleet_of(daemon_of, broker_of) as (daemon, broker):
        broker.publish([event("oslo/1", "connected", 1)])
        wait_for(lambda: taken(daemon) == 1)
        assert daemon.get("/api/v1/clients?class=site:oslo")[0] == 400
        daemon.settings["metrics"] |= METRICS
        daemon.settings["history"] = {"clients": 5}
        daemon.write()
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.get("/api/v1/clients?class=site:oslo")[0] == 200)
        (client,) = get(daemon, "/clients?class=site:oslo")["clients"]
        assert client["classes"] == {"site": "oslo", "line": "1"}
        assert [each["key"] for each in daemon.log if "next start" in each["event"]] == ["history"]


def test_clients_that_outlived_a_restart_are_there(
    daemon_of: Any, broker_of: Any, tmp_path: Any
) -> None:
    state = {"path": str(tmp_path / "presenced.db")}
    with fleet_of(daemon_of, broker_of, state=state) as (daemon, broker):
        broker.publish([event(name, "connected", 1) for name in ("b", "a", "c")])
        wait_for(lambda: taken(daemon) == 3)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(timeout=5) == 0
        daemon.start()
        page = get(daemon, "/clients")
        assert [client["client_id"] for client in page["clients"]] == ["a", "b", "c"]
        story = get(daemon, "/clients/a")
        assert (story["decided_by"]["type"], story["decided_by"]["received_at"]) == (
            "connected",
            None,
        )
