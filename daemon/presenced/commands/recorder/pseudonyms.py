"""Pseudonyms: equal names become equal pseudonyms, and nothing leads back to the name.

A pseudonym is a hash of the name under a random key that is never written down. Without the key
names cannot be guessed and tried, and two recordings have no pseudonym in common.
"""

import fnmatch
import ipaddress
import re
import secrets
import string
import uuid
from collections.abc import Callable, Sequence
from hashlib import blake2b

from presenced.presence.name_patterns import ClientFilter
from presenced.settings import Problem, SettingsError

# 80 bits: for a million names the probability of a collision is below 10 to the power of -12.
_DIGITS = 20


class Pseudonyms:
    """The pseudonyms of one recording. An empty name stays empty.

    The same text becomes different pseudonyms under different values of `kind`.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def digest(self, kind: str, data: bytes) -> str:
        """Return the hash of bytes, 64 hexadecimal digits."""
        return blake2b(data, key=self._key, person=kind.encode(), digest_size=32).hexdigest()

    def digits(self, kind: str, text: str) -> str:
        """Return the hash of a text, 20 hexadecimal digits."""
        return self.digest(kind, text.encode(errors="surrogatepass"))[:_DIGITS]

    def name(self, kind: str, text: str) -> str:
        """Return a name that begins with its kind."""
        return f"{kind}-{self.digits(kind, text)}" if text else text

    def principal(self, text: str) -> str:
        """Return what looks like a certificate ID."""
        return self.digest("principal", text.encode()) if text else text

    def identifier(self, text: str) -> str:
        """Return a UUID: for a session, thing, thing type, thing group or event."""
        if not text:
            return text
        return str(uuid.UUID(self.digest("identifier", text.encode())[:32], version=4))

    def address(self, text: str) -> str:
        """Return an IPv6 address of the documentation prefix (RFC 3849).

        Its third group is the IP version of the original, 0 for a text that is no IP address.
        Different spellings of one address become the same pseudonym.
        """
        if not text:
            return text
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            digits, version = self.digits("address", text), 0
        else:
            digits, version = self.digits("address", str(address)), address.version
        groups = re.findall("....", digits)
        return str(ipaddress.ip_address(":".join(["2001:db8", str(version), *groups])))


# The first prefix that no pattern matches is used.
_PREFIXES = ("client-", "device-", "q-", "n_", "X.")
_SAMPLES = 64
_MAX_TRIES = 1000


class ClientNames:
    """Pseudonyms of client IDs and of thing names, which are equal for a thing and its client.

    The daemon ignores a pseudonym if and only if it ignores the name: its own client IDs stay as
    they are, and so do those that `presence.ignore_clients` lists without wildcards; a name that
    matches a pattern becomes another one that does. Raises SettingsError if the patterns do not
    allow that. A pseudonym matches the same of `rules`, the patterns of `presence.clients`, if that
    has a `*`.
    """

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        client_filter: ClientFilter,
        patterns: Sequence[str],
        rules: Sequence[str] = (),
    ) -> None:
        self._pseudonyms = pseudonyms
        self._why_ignored = client_filter.why_ignored
        self._literals = {each for each in patterns if not set("*?[") & set(each)}
        self._patterns = [
            (re.compile(fnmatch.translate(each)).match, _template(each))
            for each in patterns
            if each not in self._literals
        ]
        self._rules = [(re.compile(fnmatch.translate(each)).match, each) for each in rules]
        self._prefix = self._unmatched_prefix()

    def __call__(self, name: str) -> str:
        """Return the pseudonym of a name."""
        if not name or name in self._literals:
            return name
        why = self._why_ignored(name)
        if why == "own_client":
            return name
        if why is not None:
            fill = next(fill for matches, fill in self._patterns if matches(name))
            return fill(self._pseudonyms.digits("client", name))
        rule = self._rule_of(name)
        template = None if rule is None else _template_of(rule)
        if template is None:
            rule, template = None, self._prefix.__add__
        # The prefix makes an ignored pseudonym unlikely, not impossible.
        for tries in range(_MAX_TRIES):
            candidate = template(self._pseudonyms.digits("client", name + "\0" * tries))
            if self._why_ignored(candidate) is None and self._rule_of(candidate) == rule:
                return candidate
        raise _refusal("leaves no name for some clients: narrow its patterns")

    def _rule_of(self, name: str) -> str | None:
        return next((pattern for matches, pattern in self._rules if matches(name)), None)

    def _unmatched_prefix(self) -> str:
        for prefix in _PREFIXES:
            samples = (prefix + self._pseudonyms.digits("sample", str(n)) for n in range(_SAMPLES))
            if not any(self._why_ignored(each) or self._rule_of(each) for each in samples):
                return prefix
        raise _refusal("leaves no name for the clients that it does not match: narrow its patterns")


def _template(pattern: str) -> Callable[[str], str]:
    """Return a function that makes names which match a pattern, each from other digits."""
    text = re.sub(r"\[!?\]?[^]]*\]", lambda found: _member(found[0]), pattern).replace("?", "0")
    head, star, tail = text.partition("*")
    tail = tail.replace("*", "")
    if not star or not fnmatch.fnmatchcase(f"{head}0{tail}", pattern):
        raise _refusal("cannot be matched by pseudonyms: write * where names differ", pattern)
    return lambda digits: head + digits + tail


def _template_of(pattern: str) -> Callable[[str], str] | None:
    """Return what `_template` does, None if it raises."""
    try:
        return _template(pattern)
    except SettingsError:
        return None


def _member(bracket: str) -> str:
    """Return a character that a bracket expression matches, itself if there is none."""
    printable = string.ascii_letters + string.digits + string.punctuation
    return next(
        (each for each in printable if each not in "*?" and fnmatch.fnmatchcase(each, bracket)),
        bracket,
    )


def _refusal(message: str, value: str | None = None) -> SettingsError:
    key = "presence.ignore_clients"
    return SettingsError([Problem(key=key, message=f"with --anonymize it {message}", value=value)])
