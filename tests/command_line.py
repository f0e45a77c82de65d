"""Run the command line within this process, without the time that a start of Python takes."""

import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from presenced.cli import main
from presenced_emulator.daemon import clean_environment


def run_here(*arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `presenced`; its exit status and what it writes. `given` is its standard input.

    `environ` is added to the environment, without what would configure presenced. Not for `run`,
    which does not end where it accepts what a test expects it to refuse.
    """
    out, err, stdin = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(3))
    stdin.buffer.write(given.encode())
    stdin.buffer.seek(0)
    with (
        mock.patch.dict(os.environ, clean_environment() | environ, clear=True),
        mock.patch("sys.stdin", stdin),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            status: object = main(arguments)
        except SystemExit as end:  # argparse's, for help and for wrong usage
            status = end.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, _written(out), _written(err))


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()
