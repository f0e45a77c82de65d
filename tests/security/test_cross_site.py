"""Attack: have the browser of somebody inside ask the daemon, from a page elsewhere."""

import socket
from typing import Any

import pytest

from daemons import Daemon
from raw_http import exchange, request, status_of
from waiting import wait_for

# What Chromium sends with a request of a page's script, in this order.
BROWSER = (b"User-Agent: Mozilla/5.0", b"Accept: */*", b"Accept-Language: en-GB,en;q=0.9")
API = ("/api/v1/clients", "/api/v1/summary", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/x")
CONSOLE = ("/", "/console.js", "/console.css")
HEALTH = ("/-/healthy", "/-/ready")


@pytest.fixture
def daemon(daemon_of: Any) -> Daemon:
    made: Daemon = daemon_of(metrics={"enable_reload_endpoint": True})
    return made


def reloaded_at(daemon: Daemon) -> float | None:
    return daemon.value("presenced_config_last_reload_success_timestamp_seconds")


def ask(daemon: Daemon, path: str, *lines: bytes, method: str = "GET", host: str = "") -> int:
    """The status of the answer to a request with these header lines."""
    host = host or f"127.0.0.1:{daemon.port}"
    method = "HEAD" if path.endswith("/events") and method == "GET" else method
    return status_of(exchange(daemon.port, request(path, method, *lines, host=host)))


def test_names_that_others_point_at_the_listener_are_refused(daemon: Daemon) -> None:
    """DNS rebinding: the page's own name leads to the daemon, so its script may read answers."""
    started = reloaded_at(daemon)
    for name in (
        "evil.example",
        "evil.example:9883",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
        "127.0.0.1@evil.example",
        "[::1].evil.example",
        "",
    ):
        host = name or "evil\xff.example"
        for path in (*API, *CONSOLE):
            assert ask(daemon, path, host=host) == 403, (path, host)
        assert ask(daemon, "/-/reload", method="POST", host=host) == 403, host
        assert ask(daemon, "/metrics", *BROWSER, host=host) == 403, host
    two = request("/api/v1/clients", "GET", b"Host: evil.example")
    assert status_of(exchange(daemon.port, two)) in (400, 403)
    assert reloaded_at(daemon) == started
    refused = [line for line in daemon.log if "Host header" in line["event"]]
    assert len(refused) == 1, "one line, not one for each request"
    assert "allowed_hosts" in refused[0]["hint"]
    assert "evil" not in daemon.log_file.read_text()


def test_the_refusal_says_what_to_do_and_repeats_nothing(daemon: Daemon) -> None:
    answer = exchange(daemon.port, request("/api/v1/clients", host="evil.example"))
    assert b"metrics.allowed_hosts" in answer
    assert b"evil" not in answer


def test_addresses_localhost_and_names_of_the_machine_are_allowed(daemon: Daemon) -> None:
    port = daemon.port
    for host in (
        "127.0.0.1",
        f"127.0.0.1:{port}",
        "192.0.2.7:80",
        f"[::1]:{port}",
        "[2001:db8::7]",
        "localhost",
        f"LOCALHOST:{port}",
        "localhost.",
        "fleet.localhost",
        socket.gethostname(),
        f"{socket.gethostname()}:{port}",
    ):
        for path in (*API[:-1], *CONSOLE):
            assert ask(daemon, path, host=host) == 200, (path, host)


def test_scrapes_and_probes_use_any_name(daemon: Daemon) -> None:
    """Such as the name of a Kubernetes service or of a container, out of the box."""
    for host in ("presenced.monitoring.svc.cluster.local:9883", "presenced", "proxy.example"):
        assert ask(daemon, "/metrics", b"User-Agent: Prometheus/3.5.0", host=host) == 200
        assert ask(daemon, "/metrics", host=host) == 200
        for path in HEALTH:
            assert ask(daemon, path, host=host) in (200, 503)
            assert ask(daemon, path, *BROWSER, host=host) in (200, 503)


def test_allowed_hosts_are_a_setting_that_a_reload_takes_on(daemon_of: Any) -> None:
    daemon: Daemon = daemon_of(
        metrics={
            "allowed_hosts": ["fleet.example", "*.svc.cluster.local"],
            "enable_reload_endpoint": True,
        }
    )
    for host in ("fleet.example:443", "FLEET.example.", "presenced.monitoring.svc.cluster.local"):
        assert ask(daemon, "/api/v1/clients", host=host) == 200
        assert ask(daemon, "/metrics", *BROWSER, host=host) == 200
    for host in ("www.fleet.example", "svc.cluster.local", "xsvc.cluster.local", "evil.example"):
        assert ask(daemon, "/api/v1/clients", host=host) == 403
    daemon.settings["metrics"]["allowed_hosts"] = ["*"]
    daemon.write()
    assert daemon.post("/-/reload")[0] == 200
    assert ask(daemon, "/api/v1/clients", host="evil.example") == 200


@pytest.mark.parametrize(
    "lines",
    [
        [b"Sec-Fetch-Site: cross-site"],
        [b"Sec-Fetch-Site: same-site"],
        [b"Sec-Fetch-Site: nonsense"],
        [b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate"],
        [b"Origin: https://evil.example"],
        [b"Origin: null"],
        [b"Origin: http://[evil"],
        [b"Origin: http://127.0.0.1:1"],
        [b"Origin: http://127.0.0.1.evil.example"],
    ],
)
def test_pages_of_other_sites_are_refused(daemon: Daemon, lines: list[bytes]) -> None:
    started = reloaded_at(daemon)
    for path in API:
        assert ask(daemon, path, *lines) == 403, path
    assert ask(daemon, "/-/reload", *lines, method="POST") == 403
    assert reloaded_at(daemon) == started


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Sec-Fetch-Site: same-origin"],
        [b"Sec-Fetch-Site: none"],
        [b"Origin: http://HOST"],
        [b"Sec-Fetch-Site: same-origin", b"Origin: https://proxy.example"],
    ],
)
def test_the_console_and_programs_are_answered(daemon: Daemon, lines: list[bytes]) -> None:
    own = f"127.0.0.1:{daemon.port}".encode()
    lines = [line.replace(b"HOST", own) for line in lines]
    for path in API[:-1]:
        assert ask(daemon, path, *lines) == 200, path
    assert ask(daemon, "/-/reload", *lines, method="POST") == 200
    wait_for(lambda: daemon.value("presenced_config_last_reload_successful") == 1)


def test_links_lead_to_the_console_but_not_to_a_reload(daemon: Daemon) -> None:
    link = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document")
    assert ask(daemon, "/", *link) == 200
    assert ask(daemon, "/metrics", *link) == 200
    assert ask(daemon, "/", *link[:1]) == 403
    assert ask(daemon, "/-/reload", *link, method="POST") == 403
