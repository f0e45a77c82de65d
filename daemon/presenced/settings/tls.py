"""The certificate files of the connection to the broker."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from presenced.settings.base import PathName, Section, written
from presenced.settings.durations import Duration, within
from presenced.settings.problems import InvalidValue

__all__ = ["OptionalTls", "TlsSettings"]

_DIRECTORY = "/etc/presenced/certs"


class TlsSettings(Section):
    """Files that prove who we are and who the broker is, all in PEM format."""

    cert: PathName | None = written(f"{_DIRECTORY}/certificate.pem.crt")
    """Certificate that presenced shows to the broker: the file that AWS calls
    `...-certificate.pem.crt`. null, together with `key`, connects without a client certificate,
    which AWS IoT Core refuses."""

    key: PathName | None = written(f"{_DIRECTORY}/private.pem.key")
    """Private key of the certificate, not encrypted. Only the daemon's user should be able to
    read it."""

    ca: PathName | None = written(f"{_DIRECTORY}/AmazonRootCA1.pem")
    """Certificate authority that must have signed the broker's certificate; for AWS IoT Core it
    is https://www.amazontrust.com/repository/AmazonRootCA1.pem. null trusts the authorities that
    the operating system trusts."""

    refresh: Annotated[Duration, within("1s", "1d")] = written("5m")
    """How often to look whether the files have been replaced, from 1s to 1d. A new pair that is
    complete is taken then, with one reconnect; at every reconnect it is taken anyway."""

    @field_validator("key")
    @classmethod
    def _pair(cls, key: object, info: ValidationInfo) -> object:
        if "cert" in info.data and (info.data["cert"] is None) != (key is None):
            raise InvalidValue(
                "must be null exactly when mqtt.tls.cert is:"
                f" now mqtt.tls.cert is {'null' if key is not None else 'a file'}"
            )
        return key


def _read(value: Any) -> Any:
    if value is False:
        return None
    if isinstance(value, Mapping | TlsSettings):
        return value
    raise InvalidValue(
        "must be a mapping with cert, key and ca, or false for a plaintext broker on a trusted"
        " network"
    )


class _OffSchema:
    """The file says false where the settings say None."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        choices = handler(schema)["anyOf"]
        return {"anyOf": [c if "$ref" in c else {"const": False} for c in choices]}


OptionalTls = Annotated[TlsSettings | None, BeforeValidator(_read), _OffSchema()]
"""The files, or None where the file says `tls: false`."""
