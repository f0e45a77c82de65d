"""What can go wrong with a connection, in words that people understand."""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Fault", "FaultReason"]


class FaultReason(StrEnum):
    """Why a connection was refused or lost: the label values of the failures metric."""

    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    TLS_SERVER_CERTIFICATE = "tls_server_certificate"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_FILES = "tls_files"
    TLS = "tls"
    CONNECT_REFUSED = "connect_refused"
    NOT_AUTHORIZED = "not_authorized"
    TAKEN_OVER = "taken_over"
    KEEP_ALIVE_TIMEOUT = "keep_alive_timeout"
    SERVER_DISCONNECT = "server_disconnect"
    DROPPED_AFTER_SUBSCRIBE = "dropped_after_subscribe"
    CONNECTION_LOST = "connection_lost"
    FILTER_REFUSED = "filter_refused"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong: what happened, to what, and what to do about it.

    `said` is what the broker itself said about it, where it said something. It may differ from
    one time to the next, so it is no part of what makes two faults equal.
    """

    reason: FaultReason
    detail: str
    remedy: str = ""
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        said = f' (the broker said: "{self.said}")' if self.said else ""
        return f"{self.detail}{said}. {self.remedy}" if self.remedy else f"{self.detail}{said}"
