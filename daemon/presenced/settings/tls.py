"""The section `mqtt.tls`: the PEM files of a TLS connection."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator

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

    @field_validator("key")
    @classmethod
    def _check_pair(cls, key: object, info: ValidationInfo) -> object:
        if "cert" in info.data and (info.data["cert"] is None) != (key is None):
            raise InvalidValue(
                "must be null exactly when mqtt.tls.cert is:"
                f" now mqtt.tls.cert is {'null' if key is not None else 'a file'}"
            )
        return key


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
