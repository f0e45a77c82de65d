"""Where the state file of a configuration is, for commands that look for the daemon's own."""

import os
from contextlib import suppress
from pathlib import Path

from presenced.settings import DEFAULT_CONFIG, Settings, load_settings
from presenced.store.file import default_path

_SERVICE_STATE = Path("/var/lib")


def read_settings(config: Path) -> Settings:
    """Read a configuration; unlike for `run`, mqtt.endpoint may be missing.

    As with `presenced run`, the default file may be missing as well. Raises SettingsError.
    """
    return load_settings(config if is_there(config) else None, require_endpoint=False)


def is_there(config: Path) -> bool:
    """Whether a configuration file is read: one that was named is, else there is an error."""
    return config != DEFAULT_CONFIG or config.exists()


def state_path(settings: Settings, config: Path) -> Path | None:
    """Return the state file of the daemon with this configuration, None if none is known.

    systemd gives the directory only to the service. The units read `presenced.yaml` and
    `NAME.yaml` in /etc/presenced, and have their files in /var/lib.
    """
    path = settings.state.path or default_path(os.environ)
    if path is None and config.absolute().parent == DEFAULT_CONFIG.parent:
        name = "presenced" if config.stem == "presenced" else f"presenced-{config.stem}"
        service = _SERVICE_STATE / name / "presenced.db"
        with suppress(PermissionError):
            return service if service.exists() else None
        return service  # its error says who may read it
    return path
