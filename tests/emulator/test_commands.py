"""The daemon and the package of `demo` and `simulate` know each other by entry points only."""

import ast
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_the_daemon_does_not_import_the_emulator() -> None:
    files = sorted((PROJECT / "daemon/presenced").rglob("*.py"))
    assert len(files) > 50
    for file in files:
        assert not [name for name in imports(file) if name.startswith("presenced_emulator")], file


def test_the_entry_points_are_installed() -> None:
    found = {entry.name: entry.value for entry in entry_points(group="presenced.commands")}
    assert found == {
        "demo": "presenced_emulator.arguments:add_demo",
        "simulate": "presenced_emulator.arguments:add_simulate",
    }


def without_the_extra(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where the packages of the extra `demo` are not installed."""
    hidden = "import sys; sys.modules['amqtt'] = sys.modules['trustme'] = None\n"
    return subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_help_needs_nothing_of_the_extra(command: str) -> None:
    done = without_the_extra(f"from presenced.cli import main; main([{command!r}, '--help'])")
    assert done.returncode == 0, done.stderr
    assert f" {command} [-h] " in done.stdout


def test_the_list_of_commands_says_that_the_demo_needs_the_extra() -> None:
    done = without_the_extra("from presenced.cli import main; main(['--help'])")
    (line,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["demo"])
    assert "(needs the extra demo)" in line


def test_simulate_needs_nothing_of_the_extra() -> None:
    assert without_the_extra("import presenced_emulator.simulate.command").returncode == 0


def test_the_demo_says_what_it_needs() -> None:
    done = without_the_extra("from presenced.cli import main; sys.exit(main(['demo']))")
    assert done.returncode == 1
    assert re.match(
        "presenced: the demo needs the extra demo: (amqtt|trustme) is not installed", done.stderr
    )
    assert "pip install '.[demo]'" in done.stderr
