"""The pinned dependencies of the image."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# The image and the systemd service can read from Kafka.
DEPENDENCIES = [*PYPROJECT["project"]["dependencies"], *EXTRAS["kafka"]]
LOCKS = {
    "requirements.lock": DEPENDENCIES,
    "requirements.demo.lock": [*DEPENDENCIES, *EXTRAS["demo"]],
    "requirements.build.lock": PYPROJECT["build-system"]["requires"],
}
PINS = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)", re.MULTILINE)


def text_of(lock: str) -> str:
    return (PROJECT / lock).read_text()


def pins(lock: str) -> dict[str, Version]:
    found = PINS.finditer(text_of(lock))
    return {canonicalize_name(pin["name"]): Version(pin["version"]) for pin in found}


def unsatisfied(requirements: Iterable[str], locked: dict[str, Version]) -> list[str]:
    parsed = [Requirement(text) for text in requirements]
    return [
        str(requirement)
        for requirement in parsed
        if not requirement.specifier.contains(
            locked.get(canonicalize_name(requirement.name), Version("0.dev0"))
        )
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_it_satisfies_pyproject(lock: str) -> None:
    assert unsatisfied(LOCKS[lock], pins(lock)) == [], "make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_it_names_no_address(lock: str) -> None:
    text = text_of(lock)
    assert "://" not in text
    assert re.findall(r"^\s*-.*$", re.sub(r"^ +--hash=.*$", "", text, flags=re.MULTILINE)) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", text_of(lock), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(lock))
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_the_demo_has_what_the_daemon_has() -> None:
    demo = pins("requirements.demo.lock")
    assert pins("requirements.lock").items() <= demo.items(), "make lock"
