"""Generate the reference of all keys, and the JSON Schema of the configuration file.

`python -m presenced.settings.reference` writes the page `docs/reference/configuration.md`, with
`--schema` the file `config/presenced.schema.json`.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from presenced.settings.keys import KEYS, Key, schema_of
from presenced.settings.loading import DEFAULT_CONFIG, FLAGS, variable
from presenced.settings.model import Settings
from presenced.settings.values import DURATION_PATTERN

_HEAD = f"""# Configuration

Written by `make docs` from `daemon/presenced/settings/`; a test keeps it current.

Every key has a default except `mqtt.endpoint`. With another `source` than MQTT, `sqs.queue_url` or
`kafka.bootstrap_servers` must be set instead, and the section `mqtt` may be absent. The flags of
`presenced run` override environment variables, these override the file (`--config`, by default
`{DEFAULT_CONFIG}`), and the file overrides the defaults.
[config/presenced.yaml](../../config/presenced.yaml) has all keys with advice on when to change
them. [Its JSON Schema](../../config/presenced.schema.json) lets an editor complete and check them.
`presenced check` reports every error in a file and the nearest known key.

- A duration has units: `500ms`, `5s`, `2m`, `1h30m`, `30d`. `0` needs none.
- A relative path is relative to the file that contains it; in a variable or a flag, to the working
  directory.
- A variable holds text, or YAML for other types, so a list may be JSON:
  `PRESENCED_MQTT__CONNECTIONS='[["$aws/events/#"]]'`. An empty variable is null if the key may be
  null.
- SIGHUP applies changes. Only connections that changed reconnect. Changes of `source`,
  `metrics.listen`, `metrics.health_listen`, `metrics.api`, `history`, `state`, `reconcile.enabled`,
  and turning TLS on in the web configuration take effect at the next start; the log says so.

`metrics.web_config` names a separate file that protects the listener: the
[web configuration file](web-configuration.md).
"""

_TYPES = {
    "path": "path",
    "password": "text (never shown)",
    "regex": "regular expression",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "string": "text",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the configuration file."""
    schema = schema_of(Settings)
    for section in schema["properties"].values():
        if "$ref" not in section:
            continue
        # A section whose keys are all commented out is null.
        section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
    schema["title"] = "Configuration of presenced"
    return schema


def reference() -> str:
    """Return the page as Markdown: a part for each section of the file and each key in it."""
    return _HEAD + "".join(_part(name, key) for name, key in KEYS.items())


def _part(name: str, key: Key) -> str:
    level = "###" if len(key.path) > 1 else "##"
    if key.kind == "section" and key.section:
        return f"\n{level} {name}\n\n{_escaped(key.section['description'])}\n"
    environment = f"`{variable(key)}`"
    if key.open:
        environment += f", or `{variable(key)}__NAME` for one of them"
    default = key.schema["default"]
    shown = f"`{default if isinstance(default, str) else json.dumps(default)}`"
    if key.section:
        shown = "the keys below"
    elif default == "":
        shown = "none, it must be set"
    rows = {"Type": _type(key.schema), "Default": shown, "Environment": environment}
    if name in FLAGS:
        rows["Flag"] = f"`{FLAGS[name]}`"
    lines = "".join(f"- {title}: {text}\n" for title, text in rows.items())
    return f"\n{level} {name}\n\n{_escaped(key.schema['description'])}\n\n{lines}"


def _type(field: Mapping[str, Any]) -> str:
    match field:
        case {"anyOf": choices}:
            return " or ".join(map(_type, choices))
        case {"enum": values}:
            return "one of " + ", ".join(f"`{v}`" for v in dict.fromkeys(map(str, values)))
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"pattern": pattern} if pattern == DURATION_PATTERN:
            return "duration"
        case {"$ref": _}:
            return "mapping"
        case {"type": "integer", "minimum": least}:
            return f"whole number from {least} " + (
                f"to {field['maximum']}" if "maximum" in field else "upwards"
            )
        case {"type": "number", "exclusiveMinimum": bound}:
            return f"number above {bound}"
        case {"type": "array"}:
            return _list_type(field)
        case {"type": "object", "patternProperties": properties}:
            return "mapping of names to " + "".join(
                f"{_type(value)}s" for value in properties.values()
            )
    return _TYPES[field.get("format") or field["type"]]


def _list_type(field: Mapping[str, Any]) -> str:
    items = _type(field["items"])
    number = ""
    if "maxItems" in field:
        least = f"{field['minItems']} to" if "minItems" in field else "at most"
        number = f" of {least} {field['maxItems']}"
    if "list" in items:
        return f"list{number}, each a {items}"
    return f"list{number or ' of'} {items}s"


def _escaped(text: str) -> str:
    """Escape the Markdown in a docstring, except for `code`."""
    parts = re.split("(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([<*|\\])", r"\\\1", p) for p in parts)


if __name__ == "__main__":
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(schema if "--schema" in sys.argv else reference())
