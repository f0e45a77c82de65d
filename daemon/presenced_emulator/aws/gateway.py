"""From a request to its answer: signature, permission, rate limit, operation.

Pure: the time is an argument, in seconds since the epoch.
"""

import random
from collections.abc import Mapping
from typing import Any

from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.answers import Body
from presenced_emulator.aws.credentials import Credentials, CredentialStore
from presenced_emulator.aws.errors import AwsError, CredentialsError
from presenced_emulator.aws.faults import Faults
from presenced_emulator.aws.operations import INDEX, OPERATIONS, Operations
from presenced_emulator.aws.signatures import Scope, SignedRequest, verify
from presenced_emulator.registry import ARN, REGION
from presenced_emulator.throttling import RateLimiter

CONNECTION_RATE = 1.0
"""How often per second GetConnection may be called for one client."""

_RESOURCES = {
    "DescribeIndex": "index/{indexName}",
    "DescribeThingGroup": "thinggroup/{thingGroupName}",
    "GetThingConnectivityData": "thing/{thingName}",
    "SearchIndex": f"index/{INDEX}",
}
"""The resources that permissions name, after the account's ARN; those of other operations are *."""


class CredentialsRefusedError(Exception):
    """The credential provider refuses a request, because of `cause`."""

    def __init__(self, cause: CredentialsError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Gateway:
    """Answers the requests about one account, as far as `faults` lets it."""

    def __init__(
        self, account: EmulatedAccount, faults: Faults, store: CredentialStore, rng: random.Random
    ) -> None:
        self._account = account
        self._faults = faults
        self._store = store
        self._operations = Operations(account, faults, rng)
        self._limiter = RateLimiter()

    def answer(
        self, operation: str, request: SignedRequest, parameters: Mapping[str, Any], now: float
    ) -> Body:
        """Return the body of an operation's answer. Raises AwsError."""

        def find(access_key_id: str, session_token: str) -> Credentials:
            return self._store.find(access_key_id, session_token, now)

        scope = Scope(REGION, OPERATIONS[operation].service)
        caller = verify(request, scope, find, now)
        self._authorize(operation, parameters, caller)
        self._throttle(operation, parameters, now)
        if (kind := self._faults.failing.get(operation)) is not None:
            raise AwsError(kind, "An unexpected error has occurred.")
        return self._operations.answer(operation, parameters, now)

    def credentials(
        self, alias: str, thing_name: str | None, now: float, *, with_certificate: bool
    ) -> Body:
        """Return the body of the credential provider's answer. Raises CredentialsRefusedError."""
        role = self._account.role_aliases.get(alias)
        if self._faults.credentials is not None:
            raise CredentialsRefusedError(self._faults.credentials)
        if not with_certificate:
            raise CredentialsRefusedError(CredentialsError.WRONG_CERTIFICATE)
        if thing_name is not None and thing_name not in self._account.certificate_things:
            raise CredentialsRefusedError(CredentialsError.WRONG_THING)
        if role is None:
            raise CredentialsRefusedError(CredentialsError.UNKNOWN_ALIAS)
        return self._store.issue(role.role, role.validity, now).body

    def _authorize(
        self, operation: str, parameters: Mapping[str, Any], caller: Credentials
    ) -> None:
        if operation not in self._faults.denied:
            return
        if OPERATIONS[operation].service == "iotdata":
            raise AwsError("ForbiddenException", "Forbidden")
        resource = "*"
        if operation in _RESOURCES:
            resource = f"{ARN}:{_RESOURCES[operation].format_map(parameters)}"
        message = (
            f"User: {caller.principal} is not authorized to perform: iot:{operation} on resource:"
            f" {resource} because no identity-based policy allows the iot:{operation} action"
        )
        raise AwsError("AccessDeniedException", message)

    def _throttle(self, operation: str, parameters: Mapping[str, Any], now: float) -> None:
        rate = self._faults.rates[operation]
        allowed = self._limiter.allows(operation, rate, now)
        if allowed and operation == "GetConnection":
            key = f"{operation} {parameters['clientId']}"
            allowed = self._limiter.allows(key, CONNECTION_RATE, now)
        if not allowed:
            raise AwsError("ThrottlingException", "Rate exceeded")
