"""The PromQL that the documents show."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def shown(page: str) -> list[str]:
    """The queries in a page's code blocks of PromQL: an empty line stands between two of them."""
    text = (PROJECT / page).read_text()
    blocks = re.findall(r"^( *)```promql\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [query for _, block in blocks for query in re.split(r"\n\s*\n", block.strip())]
