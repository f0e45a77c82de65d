"""The shell scripts that users and CI run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    "config/aws/setup.sh",
    "systemd/install-venv",
    "systemd/debian/build",
    "systemd/debian/postinst",
    "systemd/debian/postrm",
    "systemd/debian/prerm",
    ".ci/run",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    file = ROOT / script
    if not file.exists():
        pytest.skip(f"{script} is not part of this copy")
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_script_is_listed() -> None:
    folders = [ROOT / name for name in ("config", "systemd", "docs", "benchmarks", ".ci")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    found = {str(f.relative_to(ROOT)) for f in files if f.read_bytes()[:9] == b"#!/bin/sh"}
    assert found <= set(SCRIPTS)
