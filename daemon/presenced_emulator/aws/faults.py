"""What can be made to go wrong with the operations.

The index has its own: `FleetIndex.lag` and `.status`, and `EmulatedAccount.indexing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from presenced_emulator.aws.errors import CredentialsError

RATES: Mapping[str, float] = {
    "DescribeEventConfigurations": 10,
    "DescribeIndex": 10,
    "DescribeThingGroup": 10,
    "GetConnection": 100,
    "GetIndexingConfiguration": 20,
    "GetThingConnectivityData": 350,
    "ListBillingGroups": 10,
    "ListSubscriptions": 100,
    "ListThingGroups": 10,
    "ListThings": 10,
    "SearchIndex": 15,
}
"""Requests per second that AWS allows an account, by operation."""


@dataclass(slots=True)
class Faults:
    """Change the attributes at any time; they apply from the next request on.

    Operations are named as in AWS's API, such as `SearchIndex`.
    """

    rates: dict[str, float] = field(default_factory=lambda: dict(RATES))
    """Requests per second until ThrottlingException; 0 throttles all of them."""
    denied: set[str] = field(default_factory=set)
    """Operations that the role does not allow."""
    failing: dict[str, str] = field(default_factory=dict)
    """Error types by operation, such as ServiceUnavailableException."""
    statuses: dict[str, int] = field(default_factory=dict)
    """HTTP statuses by error type, other than `ERROR_STATUS`."""
    error_suffix: str = ""
    """What follows the type in `x-amzn-ErrorType`, such as `:http://internal.amazon.com/coral/`."""
    short_pages: float = 0.0
    """The share of pages that hold fewer entries than there are, or none."""
    clock_offset: float = 0.0
    """Seconds by which AWS's clock is ahead of this machine's: beyond 300 no signature is valid."""
    credentials: CredentialsError | None = None
    """What the credential provider answers."""
    delay: float = 0.0
    """Seconds before each answer."""
    disconnecting: bool = False
    """Whether connections are closed without an answer."""
    garbled: bool = False
    """Whether answers are HTML with status 200, as those of a captive portal."""
    redirect: str | None = None
    """A URL to redirect each request to."""
