"""What is made to stay, and the garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["lasting"]


@contextmanager
def lasting() -> Iterator[None]:
    """Leave all that is made within to no garbage collection, then or later.

    What is restored stays for as long as the daemon runs. The garbage collector need not look at it
    again and again while it is built, nor ever after: with a million clients each look would hold
    up the event loop for tens of milliseconds.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
