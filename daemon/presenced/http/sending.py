"""Answers that are large and lie in many parts."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from aiohttp import hdrs, web

__all__ = ["send"]

_PIECE = 256 * 1024
_TURN = 16


async def send(
    request: web.Request, parts: Sequence[bytes | bytearray], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a body that the parts make, without putting all of it together in memory."""
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, parts))
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        # Whoever asked may leave; aiohttp finds that out for itself at the end of the answer.
        with suppress(ConnectionError):
            for number, piece in enumerate(_pieces(parts), 1):
                await response.write(piece)
                # Who reads as fast as this writes would have the loop for the whole answer.
                if number % _TURN == 0:
                    await asyncio.sleep(0)
    return response


def _pieces(parts: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Parts joined to pieces of about a size that caches hold and one call can send."""
    joined: list[bytes | bytearray] = []
    size = 0
    for part in parts:
        joined.append(part)
        size += len(part)
        if size >= _PIECE:
            yield b"".join(joined)
            joined.clear()
            size = 0
    yield b"".join(joined)
