"""The files of the console as the listener serves them."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import presenced.web.console
from consoles import Stage, staged

DIRECTORY = Path(presenced.web.console.__file__).parent
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = sorted(file.name for file in DIRECTORY.iterdir() if file.suffix in TYPES)
SERVED = [name for name in FILES if name != "plain.html"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=named)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize("name", SERVED)
def test_a_file_is_served_once_and_then_only_confirmed(stage: Stage, name: str) -> None:
    url = stage.url + ("" if name == "console.html" else name)
    status, headers, body = get(url)
    assert (status, body) == (200, (DIRECTORY / name).read_bytes())
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Content-Type"] == f"{TYPES[Path(name).suffix]}; charset=utf-8"
    again, confirmed, nothing = get(url, If_None_Match=headers["ETag"])
    assert (again, nothing, confirmed["ETag"]) == (304, b"", headers["ETag"])
    assert confirmed["Content-Security-Policy"] == POLICY
    assert get(url, If_None_Match='"of-another-version"')[0] == 200


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere_and_no_text_is_taken_for_html(name: str) -> None:
    text = (DIRECTORY / name).read_text()
    outside = re.findall(r"\w+://[^'\")\s]+|url\(", text)
    assert [url for url in outside if url != "http://www.w3.org/2000/svg"] == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
    # An address that begins with a slash would miss a console below a path.
    assert re.findall(r"""(?:href|src|action)="/|(?:fetch|ask|at)\([`"']/""", text) == []
