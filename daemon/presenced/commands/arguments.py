"""Types of options that several commands have."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from presenced.settings import parse_duration

T = TypeVar("T")


def argument_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a type for argparse that reports the message of a ValueError, and the value."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from error

    return convert


def positive_duration(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError, also for 0."""
    if not (seconds := parse_duration(text)):
        raise ValueError("must be longer than 0s")
    return seconds
