"""From file, environment and flags to settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from presenced.settings.draft import Draft, Source
from presenced.settings.environment import apply_environment
from presenced.settings.explain import problems_of
from presenced.settings.model import Settings
from presenced.settings.mqtt import ENDPOINT_REQUIRED
from presenced.settings.problems import SettingsError
from presenced.settings.yaml_file import read_file

__all__ = ["DEFAULT_CONFIG", "FLAGS", "load_settings"]

DEFAULT_CONFIG = Path("/etc/presenced/presenced.yaml")
"""The file that is read where none is named, if it is there."""

FLAGS = {
    "mqtt.endpoint": "--endpoint",
    "mqtt.tls.cert": "--cert",
    "mqtt.tls.key": "--key",
    "mqtt.tls.ca": "--ca",
    "mqtt.client_id": "--client-id",
    "metrics.listen": "--listen",
}
"""The command line's flag for each key that has one."""


def load_settings(
    path: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    require_endpoint: bool = True,
) -> Settings:
    """Read the settings: the file, over it the environment, over that the overrides.

    Without `path` there is no file. `environ` is the process's own where it is None. `overrides`
    are by dotted key (`mqtt.tls.cert`); None among them means not given. With `require_endpoint`
    an empty `mqtt.endpoint` is an error. Raises SettingsError with everything that is wrong.
    """
    draft = read_file(path) if path is not None else Draft()
    apply_environment(draft, os.environ if environ is None else environ)
    for key, value in (overrides or {}).items():
        if value is not None:
            draft.put(tuple(key.split(".")), value, Source(FLAGS.get(key, "override")))
    return _validate(draft, require_endpoint=require_endpoint)


def _validate(draft: Draft, *, require_endpoint: bool) -> Settings:
    try:
        settings = Settings.model_validate(
            draft.tree, context={ENDPOINT_REQUIRED: require_endpoint}
        )
    except ValidationError as error:
        raise SettingsError([*draft.problems, *problems_of(error, draft)]) from None
    if draft.problems:
        raise SettingsError(draft.problems)
    return settings
