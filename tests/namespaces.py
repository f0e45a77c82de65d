"""A network of its own for servers that listen on every address."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from brokers import missing

# `os.unshare` and `os.setns` exist since Python 3.12.
_CLONE_NEWNET = 0x40000000


def need_network_namespaces() -> None:
    """Skip the test unless it may have a network of its own, and fail it in CI."""
    if os.geteuid() != 0:
        missing("needs a network namespace: run the tests as root")
    if shutil.which("ip") is None:
        missing("`ip` is not installed: apt-get install iproute2")
    allowed = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if allowed.returncode:
        missing("no network namespace can be made here: give this container CAP_SYS_ADMIN")


@contextmanager
def own_network() -> Iterator[None]:
    """Give this thread, and what it starts inside, a network that has the loopback only."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        check(libc.unshare(_CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            check(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)
