"""The JSON Schema of the configuration file: `python -m presenced.settings.schema`."""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from presenced.settings.model import Settings

__all__ = ["json_schema", "schema_text"]


class _Generator(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's
        return False


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what the configuration file may hold."""
    schema = Settings.model_json_schema(schema_generator=_Generator)
    for section in schema["properties"].values():
        # A section whose keys are all commented out is null.
        section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
    schema["title"] = "Configuration of presenced"
    return {"$schema": _Generator.schema_dialect, **_unwrapped(schema)}


def _unwrapped(node: Any) -> Any:
    """The same with each description on one line, for editors to wrap as they like."""
    if isinstance(node, list):
        return [_unwrapped(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: " ".join(value.split()) if key == "description" else _unwrapped(value)
        for key, value in node.items()
    }


def schema_text() -> str:
    """The JSON Schema as the text of the file `config/presenced.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
