"""Attack: hold connections that never finish a request, until the daemon has no room for others."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import free_port, lifecycle_events
from certificates import Certificates
from daemons import Daemon
from raw_http import connect, open_ones, read_to_end, request, trickle
from waiting import wait_for

# The limits are 10 s and 30 s; the rest is for a slow machine.
HEADERS, IDLE, SLACK = 10.0, 30.0, 20.0


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    """What the attacker holds, until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield stack


def few_descriptors(daemon_of: Any, **settings: Any) -> Daemon:
    """A daemon that may have 64 file descriptors."""
    daemon: Daemon = daemon_of(start=False, **settings)
    daemon.command = ["prlimit", "--nofile=64", *daemon.command]
    daemon.start()
    return daemon


def test_unfinished_requests_are_closed_in_time(daemon_of: Any, held: contextlib.ExitStack) -> None:
    daemon: Daemon = daemon_of()
    beginnings = [
        b"",
        b"GET /metrics HTTP/1.1\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ]
    connections = []
    for data in beginnings * 20:
        connections.append(held.enter_context(connect(daemon.port)))
        connections[-1].sendall(data)
    remaining = connections

    def all_closed() -> bool:
        nonlocal remaining
        # Bytes that come one by one give no more time.
        trickle(remaining, b"a")
        remaining = open_ones(remaining)
        return not remaining

    wait_for(all_closed, HEADERS + SLACK, "the end of all connections")
    assert daemon.get("/metrics")[0] == 200


def test_idle_connections_are_closed_in_time(daemon_of: Any, held: contextlib.ExitStack) -> None:
    daemon: Daemon = daemon_of()
    connections = [held.enter_context(connect(daemon.port)) for _ in range(50)]
    for each in connections:
        each.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
    began = time.monotonic()
    wait_for(lambda: not open_ones(connections), IDLE + SLACK, "the end of idle connections")
    assert time.monotonic() - began > IDLE / 2, "a scraper should find its connection again"


def test_handshakes_that_stop_are_closed_in_time(
    daemon_of: Any, tmp_path: Path, certificates: Certificates, held: contextlib.ExitStack
) -> None:
    web = tmp_path / "web.yml"
    pair = {"cert_file": str(certificates.server_cert), "key_file": str(certificates.server_key)}
    web.write_text(yaml.safe_dump({"tls_server_config": pair}))
    health = f"127.0.0.1:{free_port()}"
    daemon: Daemon = daemon_of(metrics={"web_config": str(web), "health_listen": health})
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    connections = [held.enter_context(connect(daemon.port)) for _ in range(60)]
    for number, each in enumerate(connections):
        each.sendall((b"", hello[:20], hello)[number % 3])
    wait_for(lambda: not open_ones(connections), HEADERS + SLACK, "the end of the handshakes")


def test_a_client_that_reads_nothing_is_disconnected(
    daemon_of: Any, held: contextlib.ExitStack
) -> None:
    """It asks for so many answers that they do not fit into the buffers of the two systems."""
    daemon: Daemon = daemon_of()
    greedy = held.enter_context(socket.socket())
    greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    greedy.settimeout(20)
    greedy.connect(("127.0.0.1", daemon.port))
    question = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    greedy.setblocking(False)
    ended: list[OSError] = []

    def is_reset() -> bool:
        try:
            greedy.send(question * 10)
        except BlockingIOError:
            pass
        except OSError as error:
            ended.append(error)
        time.sleep(0.05)
        return bool(ended)

    wait_for(is_reset, IDLE + SLACK, "the end of the connection")


def test_a_flood_of_silent_connections_stops_neither_scrapes_nor_mqtt_nor_the_state_file(
    daemon_of: Any, broker_of: Any, tmp_path: Path, held: contextlib.ExitStack
) -> None:
    broker = broker_of(start=False)
    state = tmp_path / "state.db"
    daemon = few_descriptors(
        daemon_of,
        broker=broker,
        state={"path": str(state)},
        log={"level": "debug"},
    )
    before = len(daemon.log_file.read_bytes())
    flood = [held.enter_context(connect(daemon.port)) for _ in range(300)]
    broker.start()
    wait_for(lambda: daemon.get("/-/ready")[0] == 200, 30, "the connection to the broker")
    flood += [held.enter_context(connect(daemon.port)) for _ in range(300)]
    for _ in range(20):
        assert daemon.get("/metrics")[0] == 200
    assert open_ones(flood), "the others wait"
    commits = daemon.value("presenced_state_commits_total")
    broker.publish(lifecycle_events(1))
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1, what="an event")
    wait_for(lambda: (daemon.value("presenced_state_commits_total") or 0) > (commits or 0))
    written = daemon.log_file.read_bytes()[before:]
    assert written.count(b"\n") < 40, written.decode()
    assert b"too many connections" in written
    assert b"Too many open files" not in written


def test_clients_that_read_nothing_keep_no_scrape_out(
    daemon_of: Any, held: contextlib.ExitStack
) -> None:
    health = {"health_listen": f"127.0.0.1:{free_port()}"}
    daemon = few_descriptors(daemon_of, metrics=health)
    for _ in range(100):
        greedy = held.enter_context(connect(daemon.port))
        greedy.setblocking(False)
        # So many that the answers do not fit into the buffers.
        with contextlib.suppress(OSError):
            greedy.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
    for _ in range(10):
        assert daemon.get("/metrics")[0] == 200
        assert daemon.get("/-/healthy", daemon.health_port)[0] == 200
    assert [line for line in daemon.log if line["level"] == "error"] == []


def test_event_streams_leave_room_for_scrapes(daemon_of: Any, held: contextlib.ExitStack) -> None:
    daemon = few_descriptors(daemon_of)
    for _ in range(60):
        stream = held.enter_context(connect(daemon.port))
        stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(10):
        assert daemon.get("/metrics")[0] == 200


def test_the_answer_is_whole_for_a_client_that_is_slow_but_reads(daemon_of: Any) -> None:
    daemon: Daemon = daemon_of()
    with connect(daemon.port) as slow:
        slow.sendall(request())
        head = slow.recv(10)
        time.sleep(0.5)
        assert (head + read_to_end(slow)).endswith(b"\n")
