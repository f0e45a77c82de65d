"""`presenced top`: show the answers of a running daemon in a terminal, again and again."""

import argparse
import io
import os
import shutil
import sys
import time

from presenced.commands.output import DONE, CommandError
from presenced.commands.top.daemon_api import DaemonApi, Facts, UnreachableError, WithheldError
from presenced.commands.top.screen import Look, screen, wrapped
from presenced.settings.passwords import read_password_file

_MAX_CLIENTS = 100
_CLIENTS_IN_A_PIPE = 24
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_CLEAR = f"{_HOME}{_REST_OF_SCREEN}"
PASSWORD = "PRESENCED_TOP_PASSWORD"  # noqa: S105 -- the name of a variable


def run(options: argparse.Namespace) -> int:
    """Show the screen until Ctrl-C; once with `--once`, or if the output is not a terminal.

    Raises SettingsError and CommandError.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a client ID may have any characters
    api = DaemonApi(options.url, options.user, _password(options), options.ca)
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
    if options.once or not is_terminal:
        look = _look(is_terminal=is_terminal)
        try:
            facts = api.read(_CLIENTS_IN_A_PIPE)
        except (UnreachableError, WithheldError) as error:
            raise CommandError(str(error)) from error
        print(*screen(facts, look._replace(height=1000)), sep="\n")
        return DONE
    try:
        _redraw(api, options.interval)
    except KeyboardInterrupt:
        print()
    return DONE


def _redraw(api: DaemonApi, interval: float) -> None:
    """Draw the screen every `interval` seconds.

    The last facts stay while there are no new ones, unless the daemon withholds them.
    """
    facts: Facts | None = None
    print(_CLEAR, end="")
    while True:
        look, notice = _look(is_terminal=True), ""
        try:
            facts = api.read(min(_MAX_CLIENTS, look.height))
        except UnreachableError as error:
            notice = f"as of {facts.overview.time:%H:%M:%S} UTC: {error}" if facts else str(error)
        except WithheldError as error:
            facts, notice = None, f"presenced: {error}"
        lines = screen(facts, look, notice=notice) if facts else wrapped(notice, look.width)
        # The screen is not cleared first, which would flicker. Each line is, because after one that
        # is as wide as the terminal the cursor is still on its last character.
        shown = lines[: look.height]
        text = "\n".join(f"{_REST_OF_LINE}{line}" for line in shown)
        rest = f"\n{_REST_OF_SCREEN}" if len(shown) < look.height else ""
        print(f"{_HOME}{text}{rest}", end="", flush=True)
        time.sleep(interval)


def _look(*, is_terminal: bool) -> Look:
    size = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "ascii").replace("-", "").lower()
    return Look(
        width=max(40, size.columns),
        height=max(10, size.lines),
        colours=is_terminal and not os.environ.get("NO_COLOR"),
        unicode=encoding == "utf8",
    )


def _password(options: argparse.Namespace) -> str | None:
    if options.password_file is not None:
        return read_password_file(options.password_file, "--password-file")
    return os.environ.get(PASSWORD)
