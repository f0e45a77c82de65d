"""Names that stand for other names: the same for the same, and not to be turned back.

What a name becomes is a hash of it under a random key that is never written down. Without the key
nobody can try out which name it was, and two recordings have nothing in common.

Pseudonyms of clients, which the daemon leaves out of presence where it left out the client.
"""

import fnmatch
import ipaddress
import re
import secrets
import string
import uuid
from collections.abc import Callable, Sequence
from hashlib import blake2b

from presenced.fleet import ClientFilter
from presenced.settings import Problem, SettingsError

# 80 bits: among a million names the chance that two become one is below 10 to the power of -12.
_DIGITS = 20
# RFC 3849: addresses of documentation, which nobody has. After it stands the IP version.
_ADDRESSES = "2001:db8"


class Pseudonyms:
    """The pseudonyms of one recording; what is empty stays so.

    A `kind` is a room of its own: the same text in two kinds becomes two different names.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def digest(self, kind: str, data: bytes) -> str:
        """64 hexadecimal digits that stand for some bytes."""
        return blake2b(data, key=self._key, person=kind.encode(), digest_size=32).hexdigest()

    def digits(self, kind: str, text: str) -> str:
        """Hexadecimal digits that stand for a text."""
        return self.digest(kind, text.encode(errors="surrogatepass"))[:_DIGITS]

    def name(self, kind: str, text: str) -> str:
        """A name that begins with its kind."""
        return f"{kind}-{self.digits(kind, text)}" if text else text

    def principal(self, text: str) -> str:
        """What looks like the ID of a certificate."""
        return self.digest("principal", text.encode()) if text else text

    def identifier(self, text: str) -> str:
        """What looks like a UUID: of a session, a thing, a type, a group or an event."""
        if not text:
            return text
        return str(uuid.UUID(self.digest("identifier", text.encode())[:32], version=4))

    def address(self, text: str) -> str:
        """An IPv6 address of documentation; its third group tells the IP version, 0 for neither.

        An address becomes the same one however it is spelled.
        """
        if not text:
            return text
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            plain, version = text, 0
        else:
            plain, version = str(address), address.version
        digits = self.digits("address", plain)
        groups = [digits[start : start + 4] for start in range(0, _DIGITS, 4)]
        return str(ipaddress.ip_address(":".join([_ADDRESSES, str(version), *groups])))


_KIND = "client"
_KEY = "presence.ignore_clients"
# The first that no pattern matches is taken.
_PREFIXES = ("client-", "device-", "q-", "n_", "X.")
_SAMPLES = 64
_MOST_TRIES = 1000
_BRACKET = re.compile(r"\[!?\]?[^]]*\]")


class ClientNames:
    """Pseudonyms of client IDs and thing names: one room, as a thing is its client by its name.

    The daemon's own client IDs stay as they are, and so do those that a pattern of
    `presence.ignore_clients` spells out. One that matches a pattern becomes another that does, and
    no other becomes one that is left out. Raises SettingsError where patterns do not allow that.
    """

    def __init__(
        self, pseudonyms: Pseudonyms, client_filter: ClientFilter, patterns: Sequence[str]
    ) -> None:
        self._pseudonyms = pseudonyms
        self._why_ignored = client_filter.why_ignored
        self._spelled_out = {each for each in patterns if not set("*?[") & set(each)}
        self._patterns = [
            (re.compile(fnmatch.translate(each)).match, _template(each))
            for each in patterns
            if each not in self._spelled_out
        ]
        self._prefix = self._usable_prefix()

    def __call__(self, name: str) -> str:
        """What stands for a name; an empty one stays so."""
        if not name or name in self._spelled_out:
            return name
        why = self._why_ignored(name)
        if why is None:
            return self._name(self._prefix, name)
        if why == "own_client":
            return name
        digits = self._pseudonyms.digits(_KIND, name)
        return next(fill(digits) for matches, fill in self._patterns if matches(name))

    def _name(self, prefix: str, name: str) -> str:
        candidates = (
            prefix + self._pseudonyms.digits(_KIND, f"{name}{chr(0) * tries}")
            for tries in range(_MOST_TRIES)
        )
        return next(each for each in candidates if self._why_ignored(each) is None)

    def _usable_prefix(self) -> str:
        for prefix in _PREFIXES:
            samples = (prefix + self._pseudonyms.digits("sample", str(n)) for n in range(_SAMPLES))
            if not any(map(self._why_ignored, samples)):
                return prefix
        message = "leaves no name for the clients that it does not match: narrow its patterns"
        raise _refusal(message)


def _template(pattern: str) -> Callable[[str], str]:
    """A function that makes names which match a pattern, of digits."""
    text = _BRACKET.sub(lambda found: _member(found[0]), pattern).replace("?", "0")
    head, star, tail = text.partition("*")
    tail = tail.replace("*", "")

    def fill(digits: str) -> str:
        return head + digits + tail

    if not star or not fnmatch.fnmatchcase(fill("0"), pattern):
        message = "cannot be kept by other names: write * where names differ"
        raise _refusal(message, pattern)
    return fill


def _member(bracket: str) -> str:
    """A character that a bracket of a pattern matches; itself where there is none."""
    printable = string.ascii_letters + string.digits + string.punctuation
    return next(
        (each for each in printable if each not in "*?" and fnmatch.fnmatchcase(each, bracket)),
        bracket,
    )


def _refusal(message: str, value: str | None = None) -> SettingsError:
    return SettingsError([Problem(key=_KEY, message=f"with --anonymize it {message}", value=value)])
