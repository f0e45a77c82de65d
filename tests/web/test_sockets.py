"""Addresses to listen on, of both families."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from brokers import free_port, missing
from presenced.settings.values import parse_listen
from presenced.web.sockets import ListenerError, bind
from raw_http import exchange, request, status_of


def need_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        missing("this machine has no IPv6")


def with_bound(text: str, use: Callable[[Sequence[socket.socket]], None]) -> None:
    async def run() -> None:
        sockets = await bind(parse_listen(text), "metrics.listen")
        try:
            use(sockets)
        finally:
            for each in sockets:
                each.close()

    asyncio.run(run())


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("listen", "ipv4", "ipv6"),
    [
        ("[::]:0", True, True),
        ("[0::0]:0", True, True),
        (":0", True, True),
        ("0.0.0.0:0", True, False),
        ("127.0.0.1:0", True, False),
        ("[::1]:0", False, True),
    ],
)
def test_families(listen: str, ipv4: bool, ipv6: bool) -> None:
    need_ipv6()

    def use(sockets: Sequence[socket.socket]) -> None:
        ports = {each.getsockname()[1] for each in sockets}
        assert len(ports) == 1, "port 0 is one port for both families"
        port = ports.pop()
        assert reaches("127.0.0.1", port) is ipv4
        assert reaches("::1", port) is ipv6

    with_bound(listen, use)


def test_the_wildcard_of_ipv6_takes_the_port_of_ipv4_too() -> None:
    need_ipv6()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenerError, match=rf"\[::\]:{port}: Address already in use"):
            with_bound(f"[::]:{port}", lambda _: None)


def test_a_daemon_serves_both_families_at_both_addresses(daemon_of: Any) -> None:
    need_ipv6()
    listen, health = free_port(), free_port()
    daemon = daemon_of(
        start=False,
        metrics={"listen": f"[::]:{listen}", "health_listen": f"[::]:{health}"},
    )
    daemon.port = listen
    daemon.start()
    for host in ("127.0.0.1", "::1"):
        for port, path in ((listen, "/metrics"), (listen, "/api/v1/summary"), (health, "/-/ready")):
            answer = exchange(port, request(path, host=f"localhost:{port}"), host)
            assert status_of(answer) in (200, 503), (host, path)
