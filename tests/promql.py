"""The PromQL queries of the documentation."""

import re

from documentation import PAGES, PROJECT, blocks

__all__ = ["PAGES_WITH_QUERIES", "PROJECT", "shown"]


def shown(page: str) -> list[str]:
    """Return the queries of a page; empty lines separate them."""
    return [
        query for block in blocks(page, "promql") for query in re.split(r"\n\s*\n", block.strip())
    ]


PAGES_WITH_QUERIES = [page for page in PAGES if shown(page)]
