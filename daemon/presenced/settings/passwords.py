"""The password for the broker, from where the settings say it is."""

from pathlib import Path

from presenced.settings.files import read_named_file
from presenced.settings.mqtt import MqttSettings
from presenced.settings.problems import Problem, SettingsError

__all__ = ["read_password"]

_KEY = "mqtt.password_file"


def read_password(mqtt: MqttSettings) -> str | None:
    """The password for the broker, or None when there is none.

    Raises SettingsError when `mqtt.password_file` cannot be read or is empty.
    """
    if mqtt.password_file is None:
        return mqtt.password.get_secret_value() if mqtt.password else None
    content = read_named_file(_KEY, mqtt.password_file)
    if isinstance(content, Problem):
        raise SettingsError([content])
    return _password(mqtt.password_file, content)


def _password(path: Path, content: bytes) -> str:
    try:
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password:
        message = "is empty, or not UTF-8 text: it must hold the password"
        problem = Problem(key=_KEY, value=str(path), message=message, kind="malformed")
        raise SettingsError([problem])
    return password
