"""The images, built once; and containers that end with their test."""

from collections.abc import Iterator
from typing import Any

import pytest

import containers
from containers import Container


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """The base image; what an earlier, interrupted run left of containers is removed."""
    containers.need_root_and_tools()
    containers.WORK.mkdir(parents=True, exist_ok=True)
    containers.podman("rm", "--all", "--force", "--time=0")
    containers.podman("volume", "prune", "--force")
    containers.make_base()
    yield containers.base_name()
    containers.podman("image", "prune", "--force", "--filter=until=24h")


@pytest.fixture(scope="session")
def image(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return containers.build("presenced", tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def demo_image(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return containers.build("demo", tmp_path_factory.mktemp("build"))


@pytest.fixture
def volume() -> Iterator[str]:
    """A new volume; to be asked for before the containers that use it."""
    name = containers.podman("volume", "create")
    yield name
    containers.podman("volume", "rm", name)


@pytest.fixture
def container_of() -> Iterator[Any]:
    """Starts containers that are removed after the test."""
    started: list[Container] = []

    def start(*words: str, **more: Any) -> Container:
        started.append(Container(*words, **more))
        return started[-1]

    yield start
    for container in started:
        container.remove()
