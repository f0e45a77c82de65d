"""CHANGELOG.md begins with what is unreleased, then has this version."""

import re

from documentation import prose
from presenced import __version__


def test_the_newest_release_is_this_version() -> None:
    heads = re.findall(r"^## (.+)$", prose("CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert re.fullmatch(re.escape(__version__) + r" - \d{4}-\d\d-\d\d", heads[1])
