"""Session identifiers in little memory: AWS IoT Core's are UUIDs, and a number takes half."""

__all__ = ["PackedSession", "pack", "unpack"]

PackedSession = int | str | None

_LENGTH = 36  # of a UUID in digits and dashes (RFC 9562 section 4)


def pack(session: str | None) -> PackedSession:
    """A session identifier, as a number where it is a UUID as AWS writes it."""
    if session is None or len(session) != _LENGTH:
        return session
    try:
        number = int(session.replace("-", ""), 16)
    except ValueError:
        return session
    # Whatever else Python takes for a number, or writes it another way, stays as it is.
    return number if unpack(number) == session else session


def unpack(packed: PackedSession) -> str | None:
    """The session identifier that was packed."""
    if not isinstance(packed, int):
        return packed
    digits = f"{packed:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
