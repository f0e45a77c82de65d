"""Blocks of text as gzip, of which only those that have changed are compressed anew."""

import struct
import zlib
from collections.abc import Iterable

from presenced.metrics.lines import Block

__all__ = ["gzip_parts"]

_LEVEL = 1
# RFC 1952: deflate, no flags, no time, made by the fastest algorithm on an unknown system.
_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255))
# RFC 1951: a last block that holds nothing.
_LAST = b"\x03\x00"


def gzip_parts(blocks: Iterable[Block]) -> list[bytes]:
    """One gzip member that holds the texts of all the blocks, in parts that follow on each other.

    What is compressed stays with its block. It refers to nothing before it, because a full flush
    ends each (zlib's manual, `deflate`), and so stays right whatever changes around it. May run in
    a thread: nothing but that is written, and the interpreter is free while zlib works.
    """
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [_HEADER]
    checksum = size = 0
    for block in blocks:
        if block.deflated is None:
            block.deflated = deflate.compress(block.text) + deflate.flush(zlib.Z_FULL_FLUSH)
        parts.append(block.deflated)
        checksum = zlib.crc32(block.text, checksum)
        size += len(block.text)
    return [*parts, _LAST, struct.pack("<LL", checksum, size & 0xFFFFFFFF)]
