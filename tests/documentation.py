"""The pages of the documentation, with their code blocks and their text."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "config/aws/README.md"),
    *(str(page.relative_to(PROJECT)) for page in sorted((PROJECT / "docs").rglob("*.md"))),
]


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language, without their indentation."""
    text = (PROJECT / page).read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def block(page: str, beginning: str) -> str:
    """Return the only block of shell commands that starts with these words."""
    (found,) = [each for each in blocks(page, "sh") if each.startswith(beginning)]
    return found


def prose(page: str) -> str:
    """Return a page without its code blocks."""
    text = (PROJECT / page).read_text()
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
