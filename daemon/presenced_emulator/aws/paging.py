"""Pages of a listing, and the tokens that continue it. Pure."""

import base64
import binascii
import json
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from presenced_emulator.aws.errors import AwsError

T = TypeVar("T")


class Page(NamedTuple):
    """Which entries of a listing to return: those whose key is greater than `after`.

    `listing` names the listing and its filters; a token of another one is refused.
    """

    listing: str
    after: str
    limit: int


class Pager:
    """Makes tokens, and pages that are short for the share `short_pages` of them."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def begin(self, listing: str, token: str | None, limit: int, short_pages: float = 0.0) -> Page:
        """Return what a request asks for. Raises AwsError for a token of another listing."""
        after = "" if token is None else _read_token(listing, token)
        if self._rng.random() < short_pages:
            limit = self._rng.randrange(limit)
        return Page(listing, after, limit)

    def token(self, page: Page, last: str | None) -> str:
        """Return the token of the next page, after the key `last`; None if this one is empty."""
        fields = [page.listing, page.after if last is None else last, self._rng.getrandbits(32)]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    def cut(self, page: Page, entries: Sequence[tuple[str, T]]) -> tuple[list[T], str | None]:
        """Return the entries of a page, and the token of the next one if there are more.

        `entries` are all entries of the listing with their keys, in the order of the keys.
        """
        rest = [(key, entry) for key, entry in entries if key > page.after]
        shown = rest[: page.limit]
        token = None
        if len(rest) > len(shown):
            token = self.token(page, shown[-1][0] if shown else None)
        return [entry for _, entry in shown], token


def _read_token(listing: str, token: str) -> str:
    try:
        made_for, after, _ = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError, TypeError):
        made_for = after = None
    if made_for != listing:
        raise AwsError("InvalidRequestException", "Invalid nextToken")
    return str(after)
