"""Which package may import which: the table of docs/architecture.md, held against the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "daemon"
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

# From the ground up: a layer imports the layers above it in this table, never one below.
LAYERS = (
    ("events", "system"),
    ("settings", "presence", "registry"),
    ("fleet",),
    ("pipeline",),
    ("aws", "recent"),
    ("sources",),
    ("store",),
    ("metrics",),
    ("web",),
    ("service",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}
PURE = ("events", "presence", "registry", "fleet")
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(module: Path) -> Iterator[str]:
    """The dotted names that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def dotted_name(module: Path) -> str:
    parts = module.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("module", MODULES, ids=dotted_name)
def test_imports_go_down(module: Path) -> None:
    own = dotted_name(module)
    for name in imported(module):
        if own.startswith("presenced.") and name.startswith("presenced_emulator"):
            pytest.fail(f"{own} imports {name}: the daemon never imports the emulator")
        if not own.startswith("presenced.") or not name.startswith("presenced."):
            continue
        mine, other = package_of(own), package_of(name)
        if other != mine and other in LEVEL:
            assert LEVEL[other] < LEVEL[mine], f"{own} imports {name}, which is not below it"


@pytest.mark.parametrize("module", MODULES, ids=dotted_name)
def test_no_import_is_for_type_checking_only(module: Path) -> None:
    """Such an import hides a circle."""
    assert "TYPE_CHECKING" not in module.read_text()


def test_every_part_has_its_layer() -> None:
    root = SOURCE / "presenced"
    parts = {path.stem for path in root.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__", "py"} == set(LEVEL)
    assert len(list(root.glob("[!_]*"))) + len(list(root.glob("__*.py"))) <= 19


@pytest.mark.parametrize("name", PURE)
def test_the_core_reads_no_clock_and_does_no_input_or_output(name: str) -> None:
    impure = ("asyncio", "time", "socket", "threading", "os", "structlog", "presenced.system")
    root = SOURCE / "presenced" / name
    for module in [*root.rglob("*.py"), *([root.with_suffix(".py")] if not root.is_dir() else [])]:
        for each in imported(module):
            assert not each.startswith(tuple(f"{part}." for part in impure)), f"{module}: {each}"
            assert each not in impure, f"{module}: {each}"


def test_modules_import_in_any_order() -> None:
    """No circle of modules, which would import from one side only."""
    names = {dotted_name(module) for module in MODULES}
    graph = {
        dotted_name(module): {
            name if name in names else name.rpartition(".")[0]
            for name in imported(module)
            if name.startswith("presenced")
        }
        for module in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        if name not in done:
            for target in graph.get(name, ()):
                if target != name and target in graph:
                    visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_page_names_every_layer() -> None:
    text = PAGE.read_text()
    for name in LEVEL:
        assert f"`{name}" in text, f"docs/architecture.md does not mention {name}"
