"""The section `mqtt.tls`: the client certificate, its key in a file or in hardware, the authority.

Durations are read as seconds.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator, model_validator

from presenced.settings.files import FileSnapshot
from presenced.settings.passwords import read_password_file
from presenced.settings.problems import InvalidValue, Problem, SettingsError
from presenced.settings.values import Duration, PathName, Section, file_default, within

PKCS11 = "mqtt.tls.pkcs11"
"""The path of the section with the key in hardware."""

_DIRECTORY = "/etc/presenced/certs"


def _check_label(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty", nearest="null")
    return text


Label = Annotated[str, AfterValidator(_check_label)]


class Pkcs11Settings(Section):
    """The private key in hardware (HSM, TPM, smart card), reached by a PKCS#11 library.

    Instead of `mqtt.tls.key`, whose default is then null; the certificate stays a file. Needs the
    transport `awscrt`.
    """

    library: PathName | None = None
    """The PKCS#11 library of the hardware, a shared object (.so). null takes the key from the file
    `mqtt.tls.key`."""

    token: Label | None = None
    """Label of the token with the key. null takes the only token there is."""

    key: Label | None = None
    """Label of the private key. null takes the only one of the token."""

    pin_file: PathName | None = None
    """File whose content, without the newline at its end, is the PIN of the token's user. null is
    for a token that asks for it by a device of its own. Hardware locks itself after a few wrong
    PINs, so a PIN that was refused is not tried again until the file changes."""

    @field_validator("token", "key", "pin_file")
    @classmethod
    def _check_used(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("library", "") is None:
            raise InvalidValue(f"has no effect without {PKCS11}.library")
        return value


class TlsSettings(Section):
    """PEM files for TLS: the client certificate, its key, and the authority to trust."""

    cert: PathName | None = file_default(f"{_DIRECTORY}/certificate.pem.crt")
    """Certificate that presenced shows to the broker: the file that AWS calls
    `...-certificate.pem.crt`. null, together with `key`, connects without a client certificate,
    which AWS IoT Core refuses."""

    key: PathName | None = file_default(f"{_DIRECTORY}/private.pem.key")
    """Private key of the certificate, not encrypted. Only the daemon's user should be able to
    read it."""

    ca: PathName | None = file_default(f"{_DIRECTORY}/AmazonRootCA1.pem")
    """Certificate authority that must have signed the broker's certificate; for AWS IoT Core it
    is https://www.amazontrust.com/repository/AmazonRootCA1.pem. null trusts the authorities that
    the operating system trusts."""

    refresh: Annotated[Duration, within("1s", "1d")] = file_default("5m")
    """How often to check whether the files have been replaced, from 1s to 1d. A new, complete pair
    is used after one reconnect; every other reconnect uses it too."""

    pkcs11: Pkcs11Settings = file_default({})
    """The private key in hardware, instead of `key`."""

    @model_validator(mode="before")
    @classmethod
    def _use_defaults_of_pkcs11(cls, value: Any) -> Any:
        pkcs11 = value.get("pkcs11") if isinstance(value, Mapping) else None
        if isinstance(pkcs11, Mapping) and pkcs11.get("library") is not None:
            return {"key": None, **value}
        return value

    @field_validator("pkcs11")
    @classmethod
    def _check_pair(cls, pkcs11: Pkcs11Settings, info: ValidationInfo) -> Pkcs11Settings:
        # A wrong path is reported by itself.
        if "cert" not in info.data or "key" not in info.data:
            return pkcs11
        cert, key = info.data["cert"], info.data["key"]
        if pkcs11.library is not None:
            if key is not None:
                message = f"must be null with {PKCS11}.library, which has the key: remove it"
                raise InvalidValue(message, key="mqtt.tls.key")
            if cert is None:
                message = f"must be the certificate of the key that {PKCS11} names"
                raise InvalidValue(message, key="mqtt.tls.cert")
        elif (cert is None) != (key is None):
            raise InvalidValue(
                "must be null exactly when mqtt.tls.cert is:"
                f" now mqtt.tls.cert is {'null' if key is not None else 'a file'}",
                key="mqtt.tls.key",
            )
        return pkcs11


def read_pin(pkcs11: Pkcs11Settings, snapshot: FileSnapshot | None = None) -> str | None:
    """Return the PIN in its file, None if there is no such file.

    Raises SettingsError if it cannot be read or is empty.
    """
    if pkcs11.pin_file is None:
        return None
    return read_password_file(pkcs11.pin_file, f"{PKCS11}.pin_file", snapshot, what="PIN")


def pkcs11_problems(pkcs11: Pkcs11Settings, snapshot: FileSnapshot | None = None) -> list[Problem]:
    """Return what is wrong with the library and the PIN as files; the token is not asked."""
    problems = []
    if pkcs11.library is not None and not pkcs11.library.is_file():
        problems.append(
            Problem(
                key=f"{PKCS11}.library",
                value=str(pkcs11.library),
                message="no such file",
                remedy="Install the PKCS#11 library of the hardware, or correct the path",
                kind="missing",
            )
        )
    try:
        read_pin(pkcs11, snapshot)
    except SettingsError as error:
        problems += error.problems
    return problems
