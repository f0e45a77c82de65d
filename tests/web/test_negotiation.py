"""Content negotiation, by real requests with headers as clients and attackers send them."""

import asyncio
import gzip
import json

import pytest

from api_fleet import ApiFleet
from presenced.metrics.exposition import Exposition
from presenced.web.server import Listener

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def answers(*requests: tuple[str, bytes]) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of the answers to requests: path, and header lines."""

    async def run() -> list[tuple[int, dict[str, str], bytes]]:
        fleet = ApiFleet()
        exposition = Exposition(fleet.view, process_metrics=False)
        listener = Listener(
            "127.0.0.1", 0, exposition, lambda: fleet.readiness, api=fleet.api.application()
        )
        await listener.open()
        try:
            return [await answer(listener.port, *each) for each in requests]
        finally:
            await listener.close()

    async def answer(port: int, path: str, lines: bytes) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        method = b"HEAD" if "/events" in path else b"GET"
        writer.write(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(lines + b"Connection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *fields = head.decode().split("\r\n")
        return int(status.split()[1]), dict(field.split(": ", 1) for field in fields), body

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/*", "text"),
        ("application/*", "openmetrics"),
        ("text/plain;q=0.6,application/openmetrics-text;q=0.5", "text"),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.6", "openmetrics"),
        ("TEXT/Plain; Q=0.5 , Application/OpenMetrics-Text ; q=0.6", "openmetrics"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=0,*/*", "text"),
        ("application/openmetrics-text;q=0.000,text/plain;q=0.001", "text"),
        ("text/plain;q=0", "openmetrics"),
        ("text/plain;q=0,*/*", "openmetrics"),
        ("*/*;q=0,text/plain", "text"),
        ("*/*;q=0.9,text/plain;q=0.1", "openmetrics"),
        ("text/*;q=0.9,text/plain;q=0.1,application/openmetrics-text;q=0.5", "openmetrics"),
        ("text/plain;version=0.0.4;q=0.9,text/plain;q=0.1,*/*;q=0.5", "text"),
        ("application/openmetrics-text,*/*", "openmetrics"),
        ("application/openmetrics-text,text/plain", "openmetrics"),
        ("text/plain,application/openmetrics-text", "text"),
        ("application/openmetrics-text;version=0.0.1,text/plain;q=0.5", "text"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "openmetrics"),
        ('application/openmetrics-text; version="1.0.0"', "openmetrics"),
        ('text/html; x="a,application/openmetrics-text;q=1"', "text"),
        ("application/json", "text"),
        ("application/openmetrics-text;q=nonsense", "text"),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", "text"),
        ("application/openmetrics-text;q=-1,text/plain;q=0.1", "text"),
        ("application/openmetrics-text;q=1e9,text/plain;q=0.1", "text"),
        (",;,;;q=,=,/,\t,text/plain;;;,", "text"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        (CHROMIUM, "text"),
    ],
)
def test_formats(accept: str, format_: str) -> None:
    lines = f"Accept: {accept}\r\n".encode() if accept else b""
    ((status, headers, body),) = answers(("/metrics", lines))
    assert status == 200
    wanted = {
        "text": "text/plain; version=0.0.4; charset=utf-8",
        "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
    assert headers["Content-Type"] == wanted[format_]
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert body.endswith(b"# EOF\n") is (format_ == "openmetrics")


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, identity", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.4", True),
        ("gzip, identity;q=0", True),
        ("*", True),
        ("br", False),
        ("identity, *;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0.0000", False),
        ("gzip;q=nonsense", False),
        ("gzip;q=\udcff", False),
    ],
)
def test_codings(accepts: str, compressed: bool) -> None:
    lines = b"Accept-Encoding: " + accepts.encode(errors="surrogateescape") + b"\r\n"
    ((status, headers, body),) = answers(("/metrics", lines))
    assert status == 200
    assert (headers.get("Content-Encoding") == "gzip") is compressed
    text = gzip.decompress(body) if compressed else body
    assert text.startswith(b"# HELP iot_clients ")


def test_several_lines_of_a_header_are_one_list() -> None:
    lines = b"Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n"
    lines += b"Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n"
    ((_, headers, _),) = answers(("/metrics", lines))
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/metrics", b"Accept: */*;q=0\r\n"),
        ("/metrics", b"Accept: text/plain;q=0, application/openmetrics-text;q=0\r\n"),
        ("/metrics", b"Accept-Encoding: identity;q=0\r\n"),
        ("/metrics", b"Accept-Encoding: *;q=0\r\n"),
        ("/", b"Accept: text/html;q=0\r\n"),
        ("/console.js", b"Accept: text/*;q=0\r\n"),
        ("/api/v1/clients", b"Accept: application/json;q=0, */*\r\n"),
        ("/api/v1/events", b"Accept: text/event-stream;q=0\r\n"),
    ],
)
def test_what_a_client_excludes_is_not_sent(path: str, lines: bytes) -> None:
    ((status, headers, body),) = answers((path, lines))
    assert status == 406
    if path == "/api/v1/clients":
        assert headers["Content-Type"] == "application/problem+json"
        assert json.loads(body)["status"] == 406
    elif body:
        assert body.startswith(b"Only available ")


PATHS = (
    "/metrics",
    "/",
    "/console.js",
    "/-/healthy",
    "/-/ready",
    "/api/v1/clients",
    "/api/v1/summary",
    "/api/v1/events",
    "/api/v1/openapi.json",
)
NAMES = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Accept-Charset",
    "Authorization",
    "Cookie",
    "Content-Type",
    "Content-Language",
    "Expect",
    "Forwarded",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Range",
    "Last-Event-ID",
    "Origin",
    "Range",
    "Referer",
    "Sec-Fetch-Site",
    "TE",
    "User-Agent",
    "X-Forwarded-For",
    "Via",
    "Date",
)
VALUES = (
    b"\xff",
    b"\xc3\x28",
    b"text/plain;version=\xff",
    b"application/openmetrics-text;version=\xff",
    b"application/openmetrics-text;version=\xc2\xb2.0.0",
    b'W/"\xff", "',
    b'"',
    b";q=\xd9\xa1",
    b",,,;;;===",
    b"\x80" * 4000,
    b'a;b="' * 800,
)


@pytest.mark.parametrize("name", NAMES)
def test_no_header_makes_a_request_fail(name: str) -> None:
    requests = [
        (path, name.encode() + b": " + value + b"\r\n") for path in PATHS for value in VALUES
    ]
    for (path, line), (status, _, _) in zip(requests, answers(*requests), strict=True):
        assert status in (200, 400, 403, 417), (path, line[:50], status)
        assert status == 200 or name in ("Origin", "Sec-Fetch-Site", "Expect"), (path, line[:50])


@pytest.mark.parametrize("name", ["prefix", "thing_type", "class", "cursor", "client_id", "x"])
def test_no_query_makes_a_request_fail(name: str) -> None:
    requests = [
        (f"/api/v1/{place}?{name}={value}", b"")
        for place in ("clients", "events")
        for value in ("%ff", "%ed%a0%80", "%00", "%", "%zz", "+%20", "%f0%9f%98%80")
    ]
    requests += [(f"/api/v1/clients/{value}", b"") for value in ("%ff", "%ed%a0%80", "%00", "%")]
    for (path, _), (status, _, _) in zip(requests, answers(*requests), strict=True):
        assert status in (200, 400, 404), (path, status)
