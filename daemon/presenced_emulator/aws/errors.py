"""The errors of AWS's operations and of its credential provider."""

from enum import Enum

ERROR_STATUS = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "ForbiddenException": 403,
    "IncompleteSignatureException": 400,
    "IndexNotReadyException": 409,
    "InternalFailureException": 500,
    "InvalidQueryException": 400,
    "InvalidRequestException": 400,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnauthorizedException": 401,
    "UnrecognizedClientException": 403,
}
"""The HTTP status of each error type."""

MODELLED_STATUS = {"IndexNotReadyException": 400, "ThrottlingException": 400}
"""Where AWS's API reference of the control plane has another status than `ERROR_STATUS`.

A client must go by the error's type: set `Faults.statuses` to this to try it.
"""


class AwsError(Exception):
    """An operation's error: `kind` is the value of the header `x-amzn-ErrorType`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class CredentialsError(Enum):
    """What the credential provider answers instead of credentials: HTTP status and message.

    The texts are those that awslabs' aws-iot-core-credential-provider-session-helper documents.
    """

    ACCESS_DENIED = (403, "Access Denied")
    """The policy of the certificate does not allow `iot:AssumeRoleWithCertificate`."""
    WRONG_CERTIFICATE = (403, "Certificate is invalid on this endpoint")
    WRONG_THING = (403, "Invalid thing name passed")
    UNKNOWN_ALIAS = (404, "Role alias does not exist")
    UNKNOWN_ROLE = (400, "Unable to assume the role, or the role to assume does not exist")
    """The role does not exist or does not trust `credentials.iot.amazonaws.com`."""
    TOO_LONG = (
        400,
        "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
    )

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
