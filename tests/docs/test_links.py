"""Every link within the documentation leads to a file and heading."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from documentation import PAGES, PROJECT, prose

LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z]+:")


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub derives from the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for head in re.findall(r"^#+ (.+)$", prose(str(path.relative_to(PROJECT))), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def faults(page: str) -> list[str]:
    here = PROJECT / page
    found = []
    for link in LINK.findall(prose(page)):
        if ELSEWHERE.match(link):
            continue
        file, _, anchor = link.partition("#")
        target = (here.parent / file).resolve() if file else here
        if not target.exists() or PROJECT not in (target, *target.parents):
            found.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            found.append(f"{link}: there is no such heading")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert faults(page) == []


def test_the_index_leads_to_every_page() -> None:
    linked = {f"docs/{link}" for link in LINK.findall(prose("docs/README.md"))}
    pages = {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md"}
    assert pages - linked == set()
