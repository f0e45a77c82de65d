"""The list of modules is that of the code."""

from documentation import PROJECT
from list_modules import page


def test_the_list_of_modules_is_current() -> None:
    listed = (PROJECT / "docs" / "reference" / "modules.md").read_text()
    assert listed == page(), "run `make docs`"


def test_every_module_says_what_it_holds() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if not row.split("|")[2].strip()]
