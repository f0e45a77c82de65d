"""Answers that are large and lie in many parts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from aiohttp import hdrs, web

__all__ = ["send"]

_PIECE = 256 * 1024


async def send(
    request: web.Request, parts: Sequence[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a body that the parts make, without putting all of it together in memory."""
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, parts))
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        # Whoever asked may leave; aiohttp finds that out for itself at the end of the answer.
        with suppress(ConnectionError):
            for piece in _pieces(parts):
                await response.write(piece)
    return response


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Parts joined to pieces of about a size that caches hold and one call can send."""
    joined: list[bytes] = []
    size = 0
    for part in parts:
        joined.append(part)
        size += len(part)
        if size >= _PIECE:
            yield b"".join(joined)
            joined.clear()
            size = 0
    yield b"".join(joined)
