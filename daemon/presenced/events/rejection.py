"""Why a message was not decoded."""

from enum import StrEnum

__all__ = ["Rejected", "RejectionReason"]


class RejectionReason(StrEnum):
    """The closed set of reasons: the label values of `iot_events_rejected_total`."""

    MALFORMED_JSON = "malformed_json"
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_TOPIC = "unknown_topic"
    TOO_LARGE = "too_large"


class Rejected(Exception):  # noqa: N818 - an ordinary outcome of untrusted input, not a fault
    """A message that is not an event; `reason` is counted and `detail` is for the log.

    `detail` never quotes the payload, which may hold principals and IP addresses.
    """

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
