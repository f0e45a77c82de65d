"""Regular expressions as people write them, and what they cost.

Python's engine backtracks, and holds the event loop meanwhile: a pattern whose parts can divide a
text in many ways takes exponential time for some texts.
"""

import re
from collections.abc import Sequence

from presenced.settings.problems import InvalidValue

_TOKEN = re.compile(
    r"""
    (?P<repeat> (?: [*+?] | \{\d*,\d*\} | \{\d+\} ) [?+]? )
    | (?P<open> \( (?: \?P<\w+> | \?<?[:=!>] | \?<[=!] | \?[a-zA-Z-]+: | \?\(\w+\) )? (?!\?) )
    | (?P<close> \) )
    | (?P<choice> \| )
    | (?P<class> \[ \^? \]? (?: \\. | [^\]\\] )* \] | \\[dDsSwW] | \. )
    | \(\?\#[^)]*\) | \(\?[a-zA-Z]+\) | \(\?P=\w+\) | [\^$] | \\[AbBZ]
    | (?P<char> \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_MAX_AMBIGUOUS = 3
_SLOW = "can take very long for some client IDs"


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        hint = "; a named group is written (?P<name>...)" if "?<" in error.msg else ""
        raise InvalidValue(f"is not a regular expression: {error.msg}{place}{hint}") from error
    except (RecursionError, OverflowError) as error:
        raise InvalidValue("is too complex for a regular expression: simplify it") from error


def check_cost(pattern: re.Pattern[str]) -> None:
    """Refuse a pattern that may take long to match a whole text of 128 bytes.

    A part that repeats must not contain a part that can match in several ways: that can take
    exponential time. Other repeats without an upper limit end surely if what follows is a character
    that they do not match, or the end. With n that can end anywhere, the time is proportional to
    the nth power of the length; there may be three.
    """
    if pattern.flags & re.VERBOSE:
        raise InvalidValue("must not have the flag x: write it without spaces and comments")
    tokens = [(str(token.lastgroup), token[0]) for token in _TOKEN.finditer(pattern.pattern)]
    varies, ambiguous = [False], 0  # for each open group, whether it can match in several ways
    item, item_varies = "", False
    for place, (kind, text) in enumerate(tokens):
        if kind == "open":
            varies.append(False)
        elif kind == "choice":
            varies[-1] = True
        elif kind == "repeat":
            if item_varies and not text.startswith("?"):
                raise InvalidValue(f"{_SLOW}: {text} repeats a part that can match in several ways")
            varies[-1] |= re.fullmatch(r"\{\d+\}.?", text) is None
            is_unlimited = text[0] in "*+" or ",}" in text
            ambiguous += is_unlimited and not _ends_surely(item, tokens[place + 1 :])
        item, item_varies = text, kind == "close" and varies[-1]
        if kind == "close":
            item_varies = varies.pop()
            varies[-1] |= item_varies
    if ambiguous > _MAX_AMBIGUOUS:
        raise InvalidValue(
            f"{_SLOW}: {ambiguous} of its repeats can end anywhere, as .* can, and {_MAX_AMBIGUOUS}"
            " may. Let them exclude the character that follows, as in [^-]*-"
        )


def _ends_surely(item: str, following: Sequence[tuple[str, str]]) -> bool:
    """Return whether a repeat of an item can end in one place only."""
    rest = [(kind, text) for kind, text in following if kind != "close"]
    if not rest:
        return True
    kind, text = rest[0]
    if item == ")" or kind != "char" or (text[-1].isalnum() and text.startswith("\\")):
        return False
    return re.fullmatch(item, text[-1], re.DOTALL) is None
