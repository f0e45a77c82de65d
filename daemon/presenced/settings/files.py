"""Reading the files that the settings name."""

from pathlib import Path

from presenced.settings.problems import Problem

__all__ = ["read_named_file"]


def read_named_file(key: str, path: Path) -> bytes | Problem:
    """The content of the file that a key names, or why there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return Problem(
            key=key, value=str(path), message=f"no such file{_hint(path)}", kind="missing"
        )
    except IsADirectoryError:
        message = "is a directory: name the file in it"
    except PermissionError:
        message = "may not be read by this user: check the owner and mode of file and directories"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    return Problem(key=key, value=str(path), message=message, kind="unreadable")


def _hint(path: Path) -> str:
    try:
        return "" if path.parent.is_dir() else f", nor is there a directory {path.parent}"
    except OSError:
        return ""
