"""The section `mqtt.tls`: the PEM files of a TLS connection, and the key if it is in hardware."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator, model_validator

from presenced.settings.pkcs11 import PKCS11, Pkcs11Settings
from presenced.settings.problems import InvalidValue
from presenced.settings.values import Duration, PathName, Section, file_default, within

_DIRECTORY = "/etc/presenced/certs"


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


def false_as_none(value: Any) -> Any:
    """Return None for false, which is a connection without TLS. Raises InvalidValue."""
    if isinstance(value, Mapping | TlsSettings):
        return value
    if value is False:
        return None
    raise InvalidValue(
        "must be a mapping with cert, key and ca, or false for a plaintext broker on a trusted"
        " network"
    )
