"""What scrapes are answered with, rendered once for all that wait for it."""

import asyncio
from collections.abc import Sequence

from presenced.metrics.exposition import Exposition, gzip_parts

Parts = Sequence[bytes | bytearray]
"""A body; its concatenation may be large."""


class ScrapeRenderer:
    """Renders one plain and one compressed exposition at a time, however many scrapes there are.

    Scrapes that arrive during a rendering wait for its end and share the next one, which shows the
    metrics of a moment after their arrival.
    """

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition
        # For plain and for compressed text: a plain scrape does not wait for a compression.
        self._locks = (asyncio.Lock(), asyncio.Lock())
        self._waiting: dict[tuple[str, bool], asyncio.Task[Parts]] = {}

    async def render(self, content_type: str, *, compressed: bool) -> Parts:
        """Return the exposition in one of `CONTENT_TYPES`."""
        key = content_type, compressed
        if key not in self._waiting:
            self._waiting[key] = asyncio.create_task(self._render(content_type, compressed))
        # The client of one scrape may disconnect; the others still wait.
        return await asyncio.shield(self._waiting[key])

    async def _render(self, content_type: str, compressed: bool) -> Parts:  # noqa: FBT001
        async with self._locks[compressed]:
            del self._waiting[content_type, compressed]
            snapshot = self._exposition.collect(content_type)
            if compressed:
                # Later scrapes reuse the blocks that this one compresses.
                return await asyncio.to_thread(lambda: gzip_parts(snapshot.blocks()))
            return await asyncio.to_thread(lambda: [block.text for block in snapshot.blocks()])
