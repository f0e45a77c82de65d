"""The wheel and the sdist: what is in them, and that two builds are the same bytes."""

import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from debian import PROJECT, call, release_python
from installations import copy_clone
from presenced import __version__

EPOCH = "1700000000"


def build(directory: Path, *, umask: int) -> Path:
    """Build both from a copy of the project; returns the directory of the results."""
    source = copy_clone(directory / "clone")
    for path in source.rglob("*"):
        os.utime(path, (umask, umask))
    call(
        *("sh", "-c", f'umask {umask:04o}; exec "$0" "$@"'),
        *(
            release_python(),
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(directory),
            str(source),
        ),
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
    )
    return directory


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("first"), umask=0o022)


def archives(directory: Path) -> Iterator[Path]:
    yield directory / f"presenced-{__version__}-py3-none-any.whl"
    yield directory / f"presenced-{__version__}.tar.gz"


def test_two_builds_are_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path, umask=0o027)
    for first, second in zip(archives(built), archives(again), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_a_package_index_would_take_them(built: Path) -> None:
    files = [str(each) for each in archives(built)]
    done = subprocess.run(
        [release_python(), "-m", "twine", "--no-color", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_the_packages_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(archives(built))) as wheel:
        names = wheel.namelist()
        metadata = message_from_bytes(
            wheel.read(f"presenced-{__version__}.dist-info/METADATA"),
        )
    tops = {name.split("/")[0] for name in names}
    assert tops == {"presenced", "presenced_emulator", f"presenced-{__version__}.dist-info"}
    assert "presenced/py.typed" in names
    assert set(metadata.get_all("Provides-Extra") or []) >= {"demo", "kafka"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_sdist_has_all_that_a_clone_has(built: Path) -> None:
    _, sdist = archives(built)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = call("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=PROJECT)
    there = {name for name in tracked.splitlines() if (PROJECT / name).is_file()}
    assert there - names == set()
