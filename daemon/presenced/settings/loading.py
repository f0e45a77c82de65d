"""From file, environment and flags to settings.

Settings from environment variables: `PRESENCED_MQTT__ENDPOINT` is `mqtt.endpoint`.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from presenced.settings.keys import KEYS, Draft, Key, Source, dotted, problems_of
from presenced.settings.model import Settings
from presenced.settings.mqtt import ENDPOINT_REQUIRED
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.yaml_file import parse_value, read_file

PREFIX = "PRESENCED_"
_SEPARATOR = "__"
# Kubernetes sets these for a service whose name begins with "presenced".
_SERVICE_NAME = re.compile(r"PRESENCED_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)")
_SERVICE_PORT = re.compile(r"PRESENCED_(\w+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")


def variable(key: Key) -> str:
    """The name of the environment variable of a key."""
    return PREFIX + _SEPARATOR.join(key.path).upper()


_VARIABLES = {variable(key): key for key in KEYS.values() if key.holds != "section"}


def apply_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    """Put the variables that begin with PRESENCED_ over a draft.

    Values that are not plain text (numbers, lists, mappings) are read as YAML, and so may be
    JSON. An empty variable is null where a key may be null.
    """
    ours = {name for name in environ if name.startswith(PREFIX)}
    services = {name for name in ours if _is_of_kubernetes(name, environ)}
    # Shorter paths first: PRESENCED_MQTT__TLS__CERT is put over what PRESENCED_MQTT__TLS says.
    for name in sorted(ours - services, key=lambda name: (name.count(_SEPARATOR), name)):
        found = _find(name)
        if found is None:
            draft.problems.append(_unknown(name))
        else:
            _apply(draft, name, *found, environ[name])


def _is_of_kubernetes(name: str, environ: Mapping[str, str]) -> bool:
    if name in _VARIABLES:
        return False
    if _SERVICE_NAME.fullmatch(name):
        return True
    if _SERVICE_PORT.fullmatch(name) is None:
        return False
    base = re.sub(r"_(PROTO|PORT|ADDR)$", "", name) if re.search("(TCP|UDP|SCTP)_", name) else name
    return _SERVICE_URL.fullmatch(environ.get(base, "")) is not None


def _find(name: str) -> tuple[Key, tuple[str, ...]] | None:
    """Find the key of a variable, and its path, which is longer inside an open mapping."""
    if name in _VARIABLES:
        return _VARIABLES[name], _VARIABLES[name].path
    parent, _, last = name.rpartition(_SEPARATOR)
    key = _VARIABLES.get(parent)
    if key is None or not key.open or not last:
        return None
    return key._replace(holds="text", nullable=False), (*key.path, last)


def _apply(draft: Draft, name: str, key: Key, path: tuple[str, ...], text: str) -> None:
    try:
        value = _value(key, text)
    except yaml.YAMLError:
        draft.problems.append(
            Problem(key=dotted(path), value=repr(text), message="is not JSON", origin=name)
        )
        return
    above = draft.sources.get(path[:-1])
    if above and above.origin.startswith(PREFIX) and not isinstance(_at(draft, path[:-1]), dict):
        draft.problems.append(
            Problem(key=dotted(path), message=f"contradicts {above.origin}", origin=name)
        )
    draft.put(path, value, Source(name, text))


def _value(key: Key, text: str) -> Any:
    if key.nullable and text in ("", "null"):
        return None
    return text if key.holds in ("text", "path") else parse_value(text)


def _at(draft: Draft, path: tuple[str, ...]) -> Any:
    value: Any = draft.tree
    for part in path:
        value = value[part]
    return value


def _unknown(name: str) -> Problem:
    nearest = get_close_matches(name, _VARIABLES, n=1, cutoff=0.6)
    return Problem(
        key="",
        message="is no environment variable of presenced",
        nearest=nearest[0] if nearest else None,
        origin=name,
    )


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
