"""What the sections of the settings have in common."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from presenced.settings.problems import InvalidValue

__all__ = ["Flag", "Number", "PathName", "Section", "utf8_length", "written"]


class Section(BaseModel):
    """A mapping of the configuration: only known keys, and never changed once read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        # Rules that concern two keys must hold for defaults too.
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def written(value: Any) -> Any:
    """Give a field a default in the form in which the file would hold it."""
    return Field(default=value)


def utf8_length(text: str) -> int:
    """The bytes that a text takes in an MQTT packet; raises ValueError where it has no place."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidValue("holds half a surrogate pair, which is no character") from error
    if "\0" in text:
        raise InvalidValue("must not hold a NUL character")
    return length


def _path(value: Any) -> Any:
    if value == "":
        raise InvalidValue("must not be empty")
    if isinstance(value, str):
        utf8_length(value)
    return value


Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
PathName = Annotated[Path, BeforeValidator(_path)]
