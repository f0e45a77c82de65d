"""The image without a registry: its base from Debian packages, built by buildah, run by podman."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from brokers import missing
from debian import PROJECT, call, digest, os_release, package_sources
from waiting import wait_for

WORK = PROJECT / "build" / "image"
STORE = ("--root", str(WORK / "store"), "--runroot", str(WORK / "run"))
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
LOCKS = ("requirements.demo.lock", "requirements.build.lock")
VERSION, REVISION = "1.2.3", "0123456789abcdef"

_PACKAGES = "python3,python3-venv"
# As slim as the images that the Dockerfile is made for, and like them without bytecode.
_SLIM = (
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--customize-hook=find "$1/usr" -name "*.pyc" -delete',
)
# podman asks for more of both than a sandbox may have.
_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


def need_root_and_tools() -> None:
    """Skip without what it takes to build images, and fail without it in CI."""
    if os.geteuid() != 0:
        missing("building an image from packages needs root: sudo make test-image")
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        missing(f"not installed: apt-get install --no-install-recommends {' '.join(absent)}")


def podman(*words: str) -> str:
    """Run podman on the tests' own store."""
    return call(*_podman(words))


def _podman(words: Sequence[str]) -> list[str]:
    # runc knows every arrangement of control groups, crun of Debian 12 does not.
    return ["podman", *STORE, "--cgroup-manager=cgroupfs", "--runtime=runc", *words]


@cache
def base_name() -> str:
    """The image that stands for the Dockerfile's base, which no registry is asked for here."""
    return f"localhost/presenced-base:{digest(package_sources(), _PACKAGES, *_SLIM)}"


def make_base() -> None:
    """Make the base from packages; the archive is kept for the next time."""
    archive = WORK / f"{base_name().replace(':', '-').rpartition('/')[2]}.tar"
    if not archive.exists():
        part = archive.with_suffix(".part.tar")
        call(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", *_SLIM),
            *(os_release()["VERSION_CODENAME"], str(part), "-"),
            input=package_sources(),
        )
        part.rename(archive)
    if podman("images", "--quiet", base_name()) == "":
        podman("import", str(archive), base_name())


def make_wheels() -> Path:
    """Download what the locks name for the base's Python, by pip as it is set up here."""
    python = podman("run", "--rm", *_LIMITS, base_name(), "python3", "--version").split()[1]
    locks = [str(PROJECT / name) for name in LOCKS]
    wheels = WORK / f"wheels-{digest(python, *(Path(lock).read_text() for lock in locks))}"
    if not wheels.exists():
        part = wheels.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for lock in locks:
            call(
                *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"),
                *("--only-binary=:all:", "--python-version", python),
                *("--dest", str(part), "--requirement", lock),
            )
        part.rename(wheels)
    return wheels


def build(target: str, directory: Path, *more: str, tag: str = "") -> str:
    """Build a target of the Dockerfile; returns the image's name."""
    name = f"localhost/presenced-test:{tag or target}"
    call(
        *(*_buildah(directory), "--format=docker", "--target", target, "--tag", name),
        *("--build-arg", f"VERSION={VERSION}", "--build-arg", f"REVISION={REVISION}"),
        *("--timestamp", "1700000000", *more),
        *("--file", str(PROJECT / "Dockerfile"), str(PROJECT)),
        env=_environment(),
    )
    return name


def make_image(directory: Path) -> str:
    """Build the image by `make image` with podman, as far as this machine has it."""
    engine = directory / "podman"
    engine.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(_buildah(directory))} "$@"\n')
    engine.chmod(0o755)
    call("make", "image", f"ENGINE={engine}", cwd=PROJECT, env=_environment())
    return "localhost/presenced:latest"


def _buildah(directory: Path) -> list[str]:
    """The start of a build on the base from packages, with wheels instead of an index."""
    pip = directory / "pip.conf"
    pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    return [
        *("buildah", *STORE, "build", "--isolation=chroot", "--pull-never", "--layers"),
        *("--secret", f"id=pip.conf,src={pip}", "--volume", f"{make_wheels()}:/wheels:ro"),
        *("--build-arg", f"PYTHON_IMAGE={base_name()}"),
    ]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "PIP" not in name}


def inspect(image: str) -> dict[str, Any]:
    """What `inspect` says of an image."""
    (found,) = json.loads(podman("image", "inspect", image))
    return found


def run(image: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """Run an image to its end."""
    words = _podman(["run", "--rm", "--no-healthcheck", *_LIMITS, *options, image, *arguments])
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


STRICT = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
"""As little as a container can have: nothing but its volumes to write to, and no capability."""


class Container:
    """A container in the background."""

    def __init__(self, image: str, *arguments: str, options: Sequence[str] = STRICT) -> None:
        # Where podman finds no systemd it cannot time health checks: the tests make them.
        detached = ("run", "--detach", "--network=host", "--health-interval=disable")
        self.id = podman(*detached, *_LIMITS, *options, image, *arguments)

    def healthy(self) -> bool:
        """Whether the image's own health check says so."""
        words = _podman(["healthcheck", "run", self.id])
        return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0

    def wait_until_healthy(self) -> None:
        wait_for(self.healthy, timeout=30, what=f"health of the container: {self.log}")

    def restart(self) -> None:
        podman("restart", self.id)

    def signal(self, number: signal.Signals) -> None:
        podman("kill", f"--signal={number.name}", self.id)

    def wait(self) -> int:
        """The exit status, once it has ended."""
        return int(podman("wait", self.id))

    @property
    def log(self) -> str:
        """Both of its outputs."""
        words = _podman(["logs", self.id])
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Kill it, and remove it with the volumes that have no name."""
        podman("rm", "--force", "--ignore", "--volumes", "--time=0", self.id)
