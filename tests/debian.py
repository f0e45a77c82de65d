"""A Debian tree from the machine's own apt configuration, and wheels for its Python; both kept."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from brokers import missing

PROJECT = Path(__file__).parents[1]
NEWER = ("prometheus_client", "0.9999")


def call(*words: str, **more: Any) -> str:
    """Run a command and return what it prints; a failure shows all that it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        pytest.fail(f"{' '.join(words)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def make_tree(directory: Path, packages: Sequence[str]) -> Path:
    """A root directory with these packages, made once for each set of packages and sources."""
    sources, release = package_sources(), os_release()

    def make(tree: Path) -> None:
        call(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"),
            *(release["VERSION_CODENAME"], str(tree), "-"),
            input=sources,
        )

    return _kept(directory, "tree", digest(sources, *packages), make)


def make_wheels(directory: Path, python: str) -> Path:
    """A directory of wheels of all that the locks name to build and run the project.

    One dependency is there in a newer version as well, as it will be in the package index.
    """
    locks = [PROJECT / name for name in ("requirements.build.lock", "requirements.lock")]

    def make(wheels: Path) -> None:
        for lock in locks:
            call(
                *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
                *("--python-version", python, "--dest", str(wheels)),
                *("--require-hashes", "--requirement", str(lock)),
            )
        make_empty_wheel(wheels, *NEWER)

    recipe = digest(python, *NEWER, *(lock.read_text() for lock in locks))
    return _kept(directory, "wheels", recipe, make)


def make_empty_wheel(directory: Path, name: str, version: str) -> None:
    """Write a wheel without any module."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def _kept(directory: Path, kind: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The directory that `make` makes, from an earlier run where the recipe is the same."""
    place, part = directory / f"{kind}-{recipe}", directory / f"{kind}.part"
    if not place.exists():
        for stale in (part, *directory.glob(f"{kind}-*")):
            shutil.rmtree(stale, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        make(part)
        part.rename(place)
    return place


def release_python() -> str:
    """The Python that has what builds and checks distributions."""
    python = PROJECT / "build" / "release" / "bin" / "python"
    if not python.exists():
        missing("what builds distributions is not installed: make build/release/.done")
    return str(python)


def package_sources() -> str:
    """The distribution's own archives out of the machine's apt configuration."""
    lines = call(
        *("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"),
        *("Created-By: Packages", f"Origin: {os_release()['ID'].capitalize()}"),
    )
    if not lines:
        missing("apt knows no packages of the distribution: apt-get update")
    return f"{lines}\n"


def os_release() -> dict[str, str]:
    """What the distribution of this machine says of itself."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def digest(*texts: str) -> str:
    """A short name for exactly these texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
