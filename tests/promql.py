"""The PromQL that the documents show."""

import re

from documents import PAGES, PROJECT, blocks

__all__ = ["PAGES_WITH_QUERIES", "PROJECT", "shown"]


def shown(page: str) -> list[str]:
    """The queries in a page's code blocks of PromQL: an empty line stands between two of them."""
    return [
        query for block in blocks(page, "promql") for query in re.split(r"\n\s*\n", block.strip())
    ]


PAGES_WITH_QUERIES = [page for page in PAGES if shown(page)]
