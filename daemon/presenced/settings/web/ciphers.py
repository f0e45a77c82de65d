"""Cipher suites and curves as Go calls them, and what OpenSSL calls them.

The names are those that the exporter toolkit takes: `tls.CipherSuites()` and the curves of Go's
crypto/tls.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from presenced.settings.problems import InvalidValue

__all__ = ["CIPHER_SUITES", "CURVES", "cipher_suite", "curve"]

CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Cipher suites of TLS up to 1.2 that can be chosen."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Elliptic curves that can be chosen."""

_TLS13 = ("TLS_AES_", "TLS_CHACHA20_")


def cipher_suite(name: str) -> str:
    """Return a cipher suite that can be chosen; raises ValueError for any other name."""
    if name.startswith(_TLS13):
        raise InvalidValue("is of TLS 1.3, whose suites cannot be chosen: leave it out")
    return _known(name, CIPHER_SUITES, "cipher suite")


def curve(name: str) -> str:
    """Return a curve that can be chosen; raises ValueError for any other name."""
    return _known(name, CURVES, "curve")


def _known(name: str, known: Mapping[str, str], what: str) -> str:
    if name in known:
        return name
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    raise InvalidValue(
        f"is no {what} that can be chosen" + ("" if nearest else f": known are {', '.join(known)}"),
        nearest=nearest[0] if nearest else None,
    )
