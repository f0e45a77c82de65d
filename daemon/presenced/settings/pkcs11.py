"""The section `mqtt.tls.pkcs11`: the private key in hardware."""

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo, field_validator

from presenced.settings.files import FileSnapshot
from presenced.settings.passwords import read_password_file
from presenced.settings.problems import InvalidValue, Problem, SettingsError
from presenced.settings.values import PathName, Section

PKCS11 = "mqtt.tls.pkcs11"
"""The path of the section with the key in hardware."""


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


def read_pin(pkcs11: Pkcs11Settings, snapshot: FileSnapshot | None = None) -> str | None:
    """Return the PIN in its file, None if there is no such file.

    Raises SettingsError if it cannot be read or is empty.
    """
    if pkcs11.pin_file is None:
        return None
    return read_password_file(pkcs11.pin_file, f"{PKCS11}.pin_file", snapshot, holds="PIN")


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
