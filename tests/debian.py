"""A Debian tree from the machine's own apt configuration, and wheels for its Python; both kept."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brokers import missing

PROJECT = Path(__file__).parents[1]


def call(*words: str, **more: Any) -> str:
    """Run a command and return what it prints; a failure shows all that it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        pytest.fail(f"{' '.join(words)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def make_tree(directory: Path, packages: Sequence[str]) -> Path:
    """A root directory with these packages, made once for each set of packages and sources."""
    sources, release = package_sources(), os_release()
    tree = directory / f"tree-{digest(sources, *packages)}"
    if not tree.exists():
        part = directory / f"{tree.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        call(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"),
            *(release["VERSION_CODENAME"], str(part), "-"),
            input=sources,
        )
        part.rename(tree)
    return tree


def make_wheels(directory: Path, python: str) -> Path:
    """A directory of wheels of all that the project needs to be built and run on that Python."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wheels = directory / f"wheels-{digest(python, *needed)}"
    if not wheels.exists():
        part = directory / f"{wheels.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        call(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
            *("--python-version", python, "--dest", str(part), *needed),
        )
        part.rename(wheels)
    return wheels


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
