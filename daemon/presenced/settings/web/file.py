"""From the web configuration file to its model."""

from pathlib import Path

from pydantic import ValidationError

from presenced.settings.explain import problems_of
from presenced.settings.files import read_named_file
from presenced.settings.keys import keys_of
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.web.model import WebConfig
from presenced.settings.yaml_file import read_file

__all__ = ["KEYS", "WEB_CONFIG_KEY", "read_web_config"]

KEYS = keys_of(WebConfig)
"""Every key of the web configuration file by its dotted path."""

WEB_CONFIG_KEY = "metrics.web_config"
"""The key of the configuration that names the file."""


def read_web_config(path: Path) -> WebConfig:
    """Read the web configuration file; relative paths in it are relative to the file.

    Raises SettingsError with everything that is wrong with it. Files that it names are not looked
    at.
    """
    unreadable = read_named_file(WEB_CONFIG_KEY, path)
    if isinstance(unreadable, Problem):
        raise SettingsError([unreadable])
    draft = read_file(path, KEYS)
    try:
        config = WebConfig.model_validate(draft.tree)
    except ValidationError as error:
        raise SettingsError([*draft.problems, *problems_of(error, draft, KEYS)]) from None
    if draft.problems:
        raise SettingsError(draft.problems)
    return config
