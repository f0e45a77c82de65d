"""Label names made from names that follow other rules, and label values as text."""

import re
from collections.abc import Collection, Iterable, Mapping

__all__ = ["RESERVED", "label_names", "label_text"]

RESERVED = frozenset({"client_id", "thing_type", "state", "le", "quantile"})
"""Labels of ours, and those that Prometheus keeps for histograms and summaries."""

_VALID = re.compile("(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def label_names(names: Iterable[str], taken: Collection[str] = RESERVED) -> dict[str, str]:
    """A label name for each name: valid, not among `taken`, and none twice.

    Names that are label names stay as they are. In others what Prometheus does not allow becomes
    `_` ("Metric names and labels" of its documentation); where that is taken, `_2` and so on
    follows. It does not matter for a valid name which others there are beside it.
    """
    used = set(taken)
    labels = {}
    for name in sorted(names, key=lambda name: (_VALID.fullmatch(name) is None, name)):
        label = stem = _valid(name)
        number = 1
        while label in used:
            number += 1
            label = f"{stem.rstrip('_')}_{number}"
        used.add(label)
        labels[name] = label
    return labels


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand between the braces of a sample (text format 0.0.4 and OpenMetrics)."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _valid(name: str) -> str:
    if _VALID.fullmatch(name):
        return name
    cleaned = re.sub("[^a-zA-Z0-9_]", "_", name)
    # Two underscores at the start are kept for Prometheus itself.
    cleaned = re.sub("^_+", "_", cleaned)
    return f"_{cleaned}" if cleaned[0].isdigit() else cleaned
