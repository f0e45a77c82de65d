"""User name, password and proxies, from the settings or the files that they name."""

from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from presenced.settings.authorizer import authorizer_user_name
from presenced.settings.aws import AwsSettings
from presenced.settings.files import FileSnapshot
from presenced.settings.mqtt import MqttSettings
from presenced.settings.passwords import read_password_file
from presenced.settings.proxy import Proxy, read_proxy

_PASSWORD_FILE = "mqtt.password_file"  # noqa: S105 -- the name of a key


def read_password(mqtt: MqttSettings, snapshot: FileSnapshot | None = None) -> str | None:
    """Return the password for the broker, from the settings or the file that they name, or None.

    Raises SettingsError if `mqtt.password_file` cannot be read or is empty.
    """
    path = mqtt.password_file
    if path is None:
        return mqtt.password.get_secret_value() if mqtt.password else None
    return read_password_file(path, _PASSWORD_FILE, snapshot)


def read_user_name(mqtt: MqttSettings, snapshot: FileSnapshot | None = None) -> str | None:
    """Return the user name for the broker, with what a custom authorizer gets in it, or None.

    Raises SettingsError if a file of `mqtt.authorizer` cannot be read or used.
    """
    if mqtt.auth != "custom":
        return mqtt.username
    return authorizer_user_name(mqtt.username, mqtt.authorizer, snapshot)


class ProxyChoice(NamedTuple):
    """A proxy as it is set: the key that names it, its URL, and the file with its password."""

    key: str
    url: SecretStr
    password_file: Path | None


def aws_proxy_choice(aws: AwsSettings, mqtt: MqttSettings | None) -> ProxyChoice | None:
    """Return the proxy for requests to AWS: `aws.proxy`, or else `mqtt.proxy`, or None."""
    if aws.proxy is not None:
        return ProxyChoice("aws.proxy", aws.proxy, aws.proxy_password_file)
    if mqtt is not None and mqtt.proxy is not None:
        return ProxyChoice("mqtt.proxy", mqtt.proxy, mqtt.proxy_password_file)
    return None


def read_aws_proxy(
    aws: AwsSettings, mqtt: MqttSettings | None, snapshot: FileSnapshot | None = None
) -> Proxy | None:
    """Return the proxy for requests to AWS, with its password, or None.

    Raises SettingsError if the password file cannot be read or is empty.
    """
    choice = aws_proxy_choice(aws, mqtt)
    return read_proxy(choice.url, choice.password_file, choice.key, snapshot) if choice else None


def read_mqtt_proxy(mqtt: MqttSettings, snapshot: FileSnapshot | None = None) -> Proxy | None:
    """Return the proxy of `mqtt.proxy`, with its password, or None.

    Raises SettingsError if `mqtt.proxy_password_file` cannot be read or is empty.
    """
    if mqtt.proxy is None:
        return None
    return read_proxy(mqtt.proxy, mqtt.proxy_password_file, "mqtt.proxy", snapshot)
