"""Content negotiation: which representation a client prefers (RFC 9110 sections 12.4.2 to 12.5.3).

A header that is malformed in part counts as far as it can be read: what clients send here never
makes a request fail by itself.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aiohttp import hdrs, web

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+"  # with the slash of media types
_QUOTED = r'"(?:\\.|[^"\\])*"'
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_VALUE = re.compile(rf"[ \t]*({_WORD})")
_PARAMETER = re.compile(rf";[ \t]*({_WORD})[ \t]*=[ \t]*({_WORD}|{_QUOTED}|)")
_WEIGHT = re.compile(r"[01](\.[0-9]*)?|\.[0-9]+")


class _Preference(NamedTuple):
    """One element of a header: what it names, and its weight from 0 (excluded) to 1."""

    value: str
    parameters: dict[str, str]
    weight: float


def negotiate_type(request: web.BaseRequest, *offers: str) -> str:
    """Return the offered content type that `Accept` prefers; the first one if there is a tie.

    Types that the header does not mention are used if it accepts none that is offered, as other
    exporters do. Raises HTTPNotAcceptable if it excludes every offer by a weight of 0.
    """
    preferences = list(_preferences(request, hdrs.ACCEPT))
    ranks = {offer: _rank(offer, preferences) for offer in offers}
    best = max(offers, key=lambda offer: ranks[offer])
    if ranks[best] is _EXCLUDED:
        raise web.HTTPNotAcceptable(text=f"Only available as {' or '.join(offers)}.\n")
    return best


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Return whether `Accept-Encoding` prefers gzip to no compression.

    Raises HTTPNotAcceptable if it excludes both.
    """
    weights = {each.value: each.weight for each in _preferences(request, hdrs.ACCEPT_ENCODING)}
    others = weights.get("*")
    gzip = weights.get("gzip", weights.get("x-gzip", others or 0.0))
    # Without compression is acceptable unless it is excluded.
    plain = weights.get("identity", others)
    if gzip and (plain is None or gzip >= plain):
        return True
    if plain == 0.0:
        raise web.HTTPNotAcceptable(text="Only available uncompressed or as gzip.\n")
    return False


class _Rank(NamedTuple):
    """How much an offer is preferred: by weight, then to how exactly and how early it is named."""

    weight: float
    precision: int
    position: int


_UNMENTIONED = _Rank(0.0, 0, 0)
_EXCLUDED = _Rank(-1.0, 0, 0)


def _rank(offer: str, preferences: Sequence[_Preference]) -> _Rank:
    """Return the rank that the most precise of the matching preferences gives."""
    wanted = _parse(offer)
    matching = [
        (precision, -position, each.weight)
        for position, each in enumerate(preferences)
        if wanted is not None and (precision := _precision(each, wanted)) is not None
    ]
    if not matching:
        return _UNMENTIONED
    precision, position, weight = max(matching)
    return _Rank(weight, precision, position) if weight else _EXCLUDED


def _precision(preference: _Preference, offer: _Preference) -> int | None:
    """Return how precisely a media range names an offer, None if it does not.

    Parameters that the offer does not have, such as Prometheus's `escaping`, do not matter.
    """
    kind = offer.value.partition("/")[0]
    try:
        precision = ("*/*", f"{kind}/*", offer.value).index(preference.value)
    except ValueError:
        return None
    shared = preference.parameters.keys() & offer.parameters.keys()
    if any(preference.parameters[name] != offer.parameters[name] for name in shared):
        return None
    return precision + len(shared)


def _preferences(request: web.BaseRequest, header: str) -> Iterator[_Preference]:
    for line in request.headers.getall(header, ()):
        for element in _ELEMENT.findall(line):
            if (preference := _parse(element)) is not None:
                yield preference


def _parse(element: str) -> _Preference | None:
    value = _VALUE.match(element)
    if value is None:
        return None
    parameters = {
        name.lower(): text.strip('"').lower() for name, text in _PARAMETER.findall(element)
    }
    weight = parameters.pop("q", "1")
    # A weight that is not a number counts as 0.
    is_number = _WEIGHT.fullmatch(weight) is not None
    return _Preference(value[1].lower(), parameters, min(float(weight), 1.0) if is_number else 0.0)
