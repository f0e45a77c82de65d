"""The clients of librdkafka in this process: each has threads, and connects again for ever."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def clients() -> int:
    """How many there are, by their main threads."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            names.append((task / "comm").read_text().strip())
    return names.count("rdk:main")


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Let cycles of references keep what they keep."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
