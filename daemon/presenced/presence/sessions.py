"""Session identifiers in little memory: AWS IoT Core's are UUIDs, and a number takes half."""

import re

__all__ = ["PackedSession", "pack", "unpack"]

PackedSession = int | str | None

# In lower-case digits and dashes (RFC 9562 section 4); what is written otherwise stays as it is.
_as_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def pack(session: str | None) -> PackedSession:
    """A session identifier, as a number where it is a UUID as AWS writes it."""
    if session is None or _as_uuid(session) is None:
        return session
    return int(session.replace("-", ""), 16)


def unpack(packed: PackedSession) -> str | None:
    """The session identifier that was packed."""
    if not isinstance(packed, int):
        return packed
    digits = f"{packed:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
