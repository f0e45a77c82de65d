"""MQTT 3.1.1 packets, encoded once and written as they are."""

__all__ = ["DISCONNECT", "connect", "publish"]

DISCONNECT = b"\xe0\x00"
"""Section 3.14."""


def connect(client_id: str, keep_alive: int = 0) -> bytes:
    """CONNECT of a clean session (section 3.1); `keep_alive` in seconds, 0 for none."""
    body = _text("MQTT") + b"\x04\x02" + keep_alive.to_bytes(2) + _text(client_id)
    return b"\x10" + _length(len(body)) + body


def publish(topic: str, payload: bytes, *, packet_id: int | None = None) -> bytes:
    """PUBLISH (section 3.3) at QoS 0, or with a packet identifier, 1 to 65535, at QoS 1."""
    identifier = b"" if packet_id is None else packet_id.to_bytes(2)
    body = _text(topic) + identifier + payload
    return (b"\x30" if packet_id is None else b"\x32") + _length(len(body)) + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2) + encoded


def _length(length: int) -> bytes:
    """A remaining length (section 2.2.3)."""
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (128 if length else 0))
        if not length:
            return bytes(digits)
