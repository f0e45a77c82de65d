"""The command line of `presenced state`."""

import argparse
from pathlib import Path
from typing import Any

from presenced.settings import DEFAULT_CONFIG

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `presenced state` and their arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    show = _add(actions, "show", "a summary, or what is known of one client")
    show.add_argument("client_id", metavar="CLIENT_ID", nargs="?", help="the client to show")
    forget = _add(
        actions,
        "forget",
        "forget clients, as if they had never been seen; a running daemon does it within seconds",
    )
    forget.add_argument("client_ids", metavar="CLIENT_ID", nargs="+", help="clients to forget")
    _add(actions, "export", "everything, as JSON Lines")


def _add(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )
    where.add_argument(
        "--file", type=Path, metavar="FILE", help="the state file, where no configuration tells it"
    )
    return parser
