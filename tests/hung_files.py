"""Files whose opening hangs, as on a network file system whose server is gone."""

import ctypes
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers import missing

# linux/fanotify.h: the opening of a marked file waits for this process to allow it.
_FAN_CLOEXEC, _FAN_CLASS_CONTENT = 0x1, 0x4
_FAN_MARK_ADD = 0x1
_FAN_OPEN_PERM = 0x10000
_AT_FDCWD = -100


@contextmanager
def hanging(path: Path) -> Iterator[Callable[[], bool]]:
    """Let every process hang that opens the file; yields whether one does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = (
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint64,
        ctypes.c_int,
        ctypes.c_char_p,
    )
    group = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
    if group < 0:
        missing(f"files that hang need root and fanotify: {os.strerror(ctypes.get_errno())}")
    try:
        marked = libc.fanotify_mark(
            group, _FAN_MARK_ADD, _FAN_OPEN_PERM, _AT_FDCWD, os.fsencode(path)
        )
        if marked < 0:
            missing(f"{path} cannot be made to hang: {os.strerror(ctypes.get_errno())}")
        yield lambda: bool(select.select([group], [], [], 0)[0])
    finally:
        # The kernel allows what still waits.
        os.close(group)
