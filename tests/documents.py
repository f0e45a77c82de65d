"""The documents for users, and what they show."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(str(page.relative_to(PROJECT)) for page in sorted((PROJECT / "docs").rglob("*.md"))),
]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, as they would be copied."""
    text = (PROJECT / page).read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def block(page: str, beginning: str) -> str:
    """The one block of shell commands that begins so."""
    (found,) = [each for each in blocks(page, "sh") if each.startswith(beginning)]
    return found


def prose(page: str) -> str:
    """A page without its code blocks."""
    text = (PROJECT / page).read_text()
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
