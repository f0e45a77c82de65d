"""Settings from the file, the environment and the flags of the command line.

An environment variable is named after its key: `PRESENCED_MQTT__ENDPOINT` is `mqtt.endpoint`.
"""

import os
from collections.abc import Mapping
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from presenced.settings.draft import Draft, Source
from presenced.settings.files import FileSnapshot
from presenced.settings.keys import KEYS, Key, dotted
from presenced.settings.model import ADDRESS_REQUIRED, Settings
from presenced.settings.mqtt import ENDPOINT_REQUIRED, PLACEHOLDER_REFUSED
from presenced.settings.problems import Problem, closest
from presenced.settings.yaml_file import LimitError, parse_value, read_yaml

DEFAULT_CONFIG = Path("/etc/presenced/presenced.yaml")
"""The file that is read if none is named and this one exists."""

FLAGS = {
    "mqtt.endpoint": "--endpoint",
    "mqtt.tls.cert": "--cert",
    "mqtt.tls.key": "--key",
    "mqtt.tls.ca": "--ca",
    "mqtt.client_id": "--client-id",
    "metrics.listen": "--listen",
}
"""The command line's flag for each key that has one."""

_PREFIX = "PRESENCED_"
_SEPARATOR = "__"
# Higher than for other words, because all variables begin alike.
_LIKENESS = 0.77
_SERVICE_HOST = "_SERVICE_HOST"


def load_settings(
    path: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    require_endpoint: bool = True,
    snapshot: FileSnapshot | None = None,
) -> Settings:
    """Read the settings: the file, over it the environment, over that the overrides.

    Without `path` there is no file. `environ` is that of the process by default. `overrides` are by
    dotted key (`mqtt.tls.cert`); the value None means not given. With `require_endpoint` it is an
    error if the address of the source is not set (`mqtt.endpoint`, `sqs.queue_url` or
    `kafka.bootstrap_servers`), or if `mqtt.endpoint` is the placeholder of the example. The file is
    read from `snapshot`, by default a new one. Raises SettingsError with everything that is wrong.
    """
    snapshot = snapshot or FileSnapshot()
    draft = read_yaml(snapshot.read(path), path, KEYS) if path else Draft(KEYS)
    _apply_environment(draft, os.environ if environ is None else environ)
    for key, value in (overrides or {}).items():
        if value is not None:
            draft.put(tuple(key.split(".")), value, Source(FLAGS.get(key, "override")))
    from_mqtt = draft.tree.get("source", "mqtt") == "mqtt"
    context = {
        ADDRESS_REQUIRED: require_endpoint,
        PLACEHOLDER_REFUSED: require_endpoint,
        ENDPOINT_REQUIRED: require_endpoint and from_mqtt,
    }
    return draft.validate(Settings, context)


def variable(key: Key) -> str:
    """Return the name of the environment variable of a key."""
    return _PREFIX + _SEPARATOR.join(key.path).upper()


def _apply_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    """Override a draft by the variables that begin with PRESENCED_.

    Values that are not plain text (numbers, lists, mappings) are read as YAML, which includes JSON.
    An empty variable is null if the key may be null.
    """
    variables = {variable(key): key for key in KEYS.values() if key.kind != "section"}
    # Kubernetes sets NAME_SERVICE_HOST, NAME_PORT and others for each service, and a service may
    # be named presenced.
    services = [
        name.removesuffix(_SERVICE_HOST) for name in environ if name.endswith(_SERVICE_HOST)
    ]
    of_services = tuple(f"{name}_{part}" for name in services for part in ("SERVICE_", "PORT"))
    ours = (n for n in environ if n.startswith(_PREFIX) and not n.startswith(of_services))
    # Shorter paths first: PRESENCED_MQTT__TLS__CERT overrides PRESENCED_MQTT__TLS.
    for name in sorted(ours, key=lambda name: (name.count(_SEPARATOR), name)):
        parent, _, last = name.rpartition(_SEPARATOR)
        if key := variables.get(name):
            _apply(draft, name, key.path, environ[name], key)
        elif (key := variables.get(parent)) and key.open and last:
            _apply(draft, name, (*key.path, last), environ[name])
        else:
            message = "is not an environment variable of presenced"
            nearest = closest(name, variables, likeness=_LIKENESS)
            draft.problems.append(Problem(key="", message=message, nearest=nearest, origin=name))


def _apply(
    draft: Draft, name: str, path: tuple[str, ...], text: str, key: Key | None = None
) -> None:
    """Override a draft by one variable; without `key` it is plain text."""
    value: Any = text
    problem = partial(Problem, key=dotted(path), origin=name)
    if key and key.nullable and text in ("", "null"):
        value = None
    elif key and key.kind == "data":
        try:
            value = parse_value(text)
        except yaml.YAMLError as error:
            message = str(error.problem) if isinstance(error, LimitError) else "is not JSON"
            draft.problems.append(problem(value=repr(text[:80]), message=message))
            return
    above = draft.sources.get(path[:-1])
    if (
        above
        and above.origin.startswith(_PREFIX)
        and not isinstance(reduce(getitem, path[:-1], draft.tree), dict)
    ):
        draft.problems.append(problem(message=f"contradicts {above.origin}"))
    draft.put(path, value, Source(name, text))
