"""TCP connections to hosts with several addresses, within one time limit."""

import contextlib
import socket
import time

import pytest

from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.tunnel import open_connection


@pytest.fixture
def silent():
    """A port that drops SYNs: the queue of its listener is full."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]


def connect(monkeypatch, ports, timeout):
    """Connect to a host whose addresses have these ports; return the port reached, and how long."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
        for port in ports
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    options = ConnectionOptions(
        endpoint="broker.example", port=1, client_id="presenced", filters=(), tls=None
    )
    begun = time.monotonic()
    try:
        with open_connection(options, timeout) as connection:
            assert connection.gettimeout() == timeout
            return connection.getpeername()[1], time.monotonic() - begun
    except TimeoutError:
        return None, time.monotonic() - begun


def test_all_addresses_of_a_host_share_one_time_limit(monkeypatch, silent):
    reached, took = connect(monkeypatch, [silent] * 4, 0.8)
    assert reached is None
    assert 0.7 < took < 1.6


def test_a_silent_address_leaves_time_for_the_next(monkeypatch, silent):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reached, took = connect(monkeypatch, [silent, port], 2)
    assert reached == port
    assert took < 2


def test_an_address_that_refuses_costs_no_time(monkeypatch, silent):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()[1]
    reached, took = connect(monkeypatch, [refusing, silent], 0.5)
    assert reached is None
    assert 0.4 < took < 1.5
