"""Temporary credentials: issued, and looked up again when a request is signed with them."""

import secrets
import string
from datetime import UTC, datetime
from typing import NamedTuple

from presenced_emulator.aws.errors import AwsError
from presenced_emulator.registry import ACCOUNT

_KEY_ID_LETTERS = string.ascii_uppercase + "234567"


class Credentials(NamedTuple):
    """Credentials of a session of a role; `expires` is in seconds since the epoch."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires: float
    role: str

    @property
    def principal(self) -> str:
        """The ARN of the session, which errors name."""
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{self.access_key_id}"

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body that the credential provider answers."""
        expiration = datetime.fromtimestamp(int(self.expires), UTC).isoformat()
        return {
            "credentials": {
                "accessKeyId": self.access_key_id,
                "secretAccessKey": self.secret_access_key,
                "sessionToken": self.session_token,
                "expiration": expiration.replace("+00:00", "Z"),
            }
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which AWS's SDKs find the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


class CredentialStore:
    """All credentials that have been issued and have not expired."""

    def __init__(self) -> None:
        self._issued: dict[str, Credentials] = {}

    def issue(self, role: str, validity: float, now: float) -> Credentials:
        """Issue new credentials, valid for `validity` seconds."""
        key_id = "ASIA" + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(16))
        issued = Credentials(
            key_id, secrets.token_urlsafe(30), secrets.token_urlsafe(96), now + validity, role
        )
        self._issued[key_id] = issued
        return issued

    def find(self, access_key_id: str, session_token: str, now: float) -> Credentials:
        """Return the credentials of a request. Raises AwsError."""
        found = self._issued.get(access_key_id)
        if found is None or not secrets.compare_digest(found.session_token, session_token):
            message = "The security token included in the request is invalid."
            raise AwsError("UnrecognizedClientException", message)
        if now >= found.expires:
            message = "The security token included in the request is expired"
            raise AwsError("ExpiredTokenException", message)
        return found
