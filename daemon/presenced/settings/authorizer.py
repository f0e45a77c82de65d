"""The section `mqtt.authorizer`: what a custom authorizer of AWS IoT Core gets in the user name.

The user name of CONNECT ends with a query string that names the authorizer and holds a token and
its signature ("Connecting to AWS IoT Core by using custom authentication" in the AWS IoT developer
guide).
"""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import AfterValidator, SecretStr, model_validator

from presenced.settings.files import FileSnapshot
from presenced.settings.passwords import read_password_file
from presenced.settings.problems import InvalidValue, Problem, SettingsError
from presenced.settings.values import PathName, Section

_NAME_KEY, _SIGNATURE_KEY = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"
# "authorizerName" and "tokenKeyName" of CreateAuthorizer in the AWS IoT API reference.
_NAME = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
_TOKEN_KEY_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_UNSENDABLE = re.compile(r"[\s&#]")


def _check_name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise InvalidValue("is not the name of an authorizer: 1 to 128 of a-z A-Z 0-9 _=,@-")
    return text


def _check_token_key_name(text: str) -> str:
    if _TOKEN_KEY_NAME.fullmatch(text) is None:
        raise InvalidValue("is not the name of a token key: 1 to 128 of a-z A-Z 0-9 _-")
    return text


class AuthorizerSettings(Section):
    """A custom authorizer of AWS IoT Core, for `mqtt.auth: custom`.

    Its Lambda function gets these values, `mqtt.username` and `mqtt.password`.
    """

    name: Annotated[str, AfterValidator(_check_name)] | None = None
    """Name of the authorizer. null is the default authorizer of the domain configuration or of the
    account."""

    token_key_name: Annotated[str, AfterValidator(_check_token_key_name)] | None = None
    """Key of the token: the `tokenKeyName` of the authorizer. An authorizer with signing needs
    it, `token` and `signature`."""

    token: SecretStr | None = None
    """The token. Better kept out of the file: see `token_file`."""

    token_file: PathName | None = None
    """File whose content, without the newline at its end, is the token. Instead of `token`."""

    signature: SecretStr | None = None
    """Signature of the token in base64, made with the private key that belongs to the authorizer.
    It is URL-encoded when it is sent, unless it contains a %."""

    signature_file: PathName | None = None
    """File whose content, without the newline at its end, is the signature. Instead of
    `signature`."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        key = "mqtt.authorizer."
        token, signature = self.token or self.token_file, self.signature or self.signature_file
        if self.token and self.token_file:
            raise InvalidValue(f"must not be set together with {key}token", key=f"{key}token_file")
        if self.signature and self.signature_file:
            message = f"must not be set together with {key}signature"
            raise InvalidValue(message, key=f"{key}signature_file")
        if token and not self.token_key_name:
            message = "is not set, and AWS finds the token by it: set it to the authorizer's"
            raise InvalidValue(f"{message} tokenKeyName", key=f"{key}token_key_name")
        if (signature or self.token_key_name) and not token:
            message = "is not set: set it to a file with the token"
            raise InvalidValue(message, key=f"{key}token_file")
        return self

    @property
    def empty(self) -> bool:
        """Whether nothing is set."""
        return self == AuthorizerSettings()


def names_authorizer(username: str) -> bool:
    """Return whether a user name has a query string for a custom authorizer."""
    return "x-amz-customauthorizer-" in username


def authorizer_user_name(
    username: str | None, authorizer: AuthorizerSettings, snapshot: FileSnapshot | None = None
) -> str:
    """Return the user name of CONNECT, with a query string for the authorizer.

    Raises SettingsError if a file cannot be read or has a value that cannot be sent.
    """
    fields: dict[str, str | None] = {_NAME_KEY: authorizer.name}
    if authorizer.token_key_name is not None:
        token = _secret(authorizer.token, authorizer.token_file, "token", snapshot)
        fields[authorizer.token_key_name] = token
    signature = _secret(authorizer.signature, authorizer.signature_file, "signature", snapshot)
    if signature is not None and "%" not in signature:
        signature = quote(signature, safe="")
    fields[_SIGNATURE_KEY] = signature
    query = "&".join(f"{key}={value}" for key, value in fields.items() if value is not None)
    start = username or ""
    separator = "&" if "?" in start else "?"
    return f"{start}{separator}{query}" if query else start


def _secret(
    value: SecretStr | None, path: Path | None, name: str, snapshot: FileSnapshot | None
) -> str | None:
    key = f"mqtt.authorizer.{name}"
    if path is not None:
        key = f"{key}_file"
        text = read_password_file(path, key, snapshot, holds=name)
    elif value is not None:
        text = value.get_secret_value()
    else:
        return None
    if not text or _UNSENDABLE.search(text):
        message = f"is empty, or has a character that ends the {name} in a query string"
        remedy = "URL-encode white space, & and #"
        raise SettingsError([Problem(key=key, message=message, remedy=remedy)])
    return text


def masked_user_name(user_name: str) -> str:
    """Return a user name with *** for what its query string holds, except the authorizer's name."""
    start, mark, query = user_name.partition("?")
    shown = []
    for each in query.split("&"):
        key, equals, value = each.partition("=")
        shown.append(f"{key}={value if key == _NAME_KEY else '***'}" if equals else "***")
    return f"{start}?{'&'.join(shown)}" if mark else start
