"""How the clock of this machine is compared with AWS's, which dates messages: by its answers."""

from typing import Any

from presenced.aws.client import Answer
from presenced.sources.clock_skew import ClockSkew

TOLERANCE = 2.0
"""Seconds: dates of answers have whole ones."""

# A long poll may be dated when it began.
_PROMPT = 1.0


def note_answer(skew: ClockSkew, answer: Answer[Any]) -> None:
    """Compare the clocks by an answer, if it was prompt."""
    if answer.clock_ahead is not None and answer.received - answer.asked <= _PROMPT:
        skew.note(answer.clock_ahead)
