"""The README stays short: reference material belongs in docs/."""

from documentation import PROJECT, prose


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 200
    assert len(prose("README.md").split()) < 1000


def test_its_paragraphs_are_wrapped() -> None:
    lines = prose("README.md").splitlines()
    assert [line for line in lines if len(line) > 110 and not line.startswith("|")] == []
