"""Passwords in files of their own."""

from pathlib import Path

from presenced.settings.files import FileSnapshot
from presenced.settings.problems import Problem, SettingsError


def read_password_file(
    path: Path, key: str, snapshot: FileSnapshot | None = None, *, holds: str = "password"
) -> str:
    """Return the password in the file that a key names, without the newline at its end.

    `holds` is the word for what else it may be. The file is read from `snapshot`, by default a new
    one. Raises SettingsError if it cannot be read or is empty.
    """
    try:
        password = (snapshot or FileSnapshot()).read(path, key).decode()
    except UnicodeDecodeError:
        password = ""
    password = password.removesuffix("\n").removesuffix("\r")
    if not password:
        message = f"is empty or not UTF-8 text: it must contain the {holds}"
        raise SettingsError([Problem(key=key, value=str(path), message=message, kind="malformed")])
    return password
