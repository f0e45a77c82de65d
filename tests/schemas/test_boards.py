"""config/grafana/dashboards, by the schemas of the Grafana releases that users run."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promql import PROJECT
from typescript import node, type_errors

GRAFANAS = ("grafana-12", "grafana-13")
BOARDS = {
    file.stem: json.loads(file.read_text())
    for file in sorted((PROJECT / "config/grafana/dashboards").glob("*.json"))
}
TYPES = (Path(__file__).with_name("board.ts")).read_text()


def errors(directory: Path, grafana: str, boards: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with each of these dashboards."""
    files = {"board.ts": TYPES.replace("@grafana/schema", grafana)}
    for name, board in boards.items():
        files[f"{name}.ts"] = (
            f'import type {{ Board }} from "./board";\n'
            f"export const board: Board = {json.dumps(board)};\n"
        )
    found = type_errors(directory, files)
    return {name.removesuffix(".ts"): messages for name, messages in found.items()}


@pytest.mark.parametrize("grafana", GRAFANAS)
def test_grafana_knows_all_that_is_in_them(grafana: str, tmp_path: Path) -> None:
    assert errors(tmp_path, grafana, BOARDS) == {}


@pytest.mark.parametrize("grafana", GRAFANAS)
def test_grafana_migrates_their_version_of_the_schema(grafana: str, tmp_path: Path) -> None:
    """It takes a dashboard of an older version, not one of a newer."""
    script = f"import('{grafana}').then(it => console.log(it.defaultDashboard.schemaVersion))"
    newest = int(node(tmp_path, "--eval", script).stdout)
    assert all(board["schemaVersion"] <= newest for board in BOARDS.values())


def _change(kind: str, *keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a value deep in the first panel of a type."""

    def apply(board: dict[str, Any]) -> None:
        part = next(panel for panel in board["panels"] if panel["type"] == kind)
        for key in keys[:-1]:
            part = part.setdefault(key, {})
        part[keys[-1]] = value

    return apply


WRONG = {
    "no-such-panel": _change("timeseries", "type", value="graph"),
    "option-of-another-panel": _change("stat", "options", "displayMode", value="lcd"),
    "no-such-choice": _change("timeseries", "options", "legend", "displayMode", value="lines"),
    "no-such-key": _change("timeseries", "transparency", value=True),
    "text-for-a-number": _change("timeseries", "fieldConfig", "defaults", "min", value="0"),
    "no-such-style": _change("timeseries", "fieldConfig", "defaults", "custom", "width", value=1),
    "style-of-another-panel": _change(
        "stat", "fieldConfig", "defaults", "custom", "lineWidth", value=1
    ),
    "no-height": lambda board: board["panels"][1]["gridPos"].pop("h"),
    "no-such-variable": lambda board: board["templating"]["list"][0].update(type="secret"),
}


@pytest.mark.parametrize("grafana", GRAFANAS)
def test_it_finds_what_is_wrong(grafana: str, tmp_path: Path) -> None:
    boards = {name: copy.deepcopy(BOARDS["fleet"]) for name in WRONG}
    for name, apply in WRONG.items():
        apply(boards[name])
    assert set(errors(tmp_path, grafana, boards)) == set(WRONG)
