"""Names that stand for other names: the same for the same, and not to be turned back.

What a name becomes is a hash of it under a random key that is never written down. Without the key
nobody can try out which name it was, and two recordings have nothing in common.
"""

import ipaddress
import secrets
import uuid
from hashlib import blake2b

__all__ = ["Pseudonyms"]

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
