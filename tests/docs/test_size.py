"""The README stays short: reference material belongs in docs/."""

from documentation import PROJECT


def test_the_readme_is_short() -> None:
    text = (PROJECT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1300
