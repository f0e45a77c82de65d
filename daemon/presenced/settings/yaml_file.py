"""Reading YAML files, with the line of every key.

The size of what is read is limited, because aliases can make a few lines exponentially large.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from presenced.settings.draft import Draft, KeyPath, Source
from presenced.settings.keys import Key, dotted
from presenced.settings.problems import Problem, SettingsError

_HINTS = (
    ("'\\t'", "; indent with spaces, not tabs"),
    ("cannot start any token", "; put the value in quotes"),
    ("mapping values are not allowed", "; put a value that contains ': ' in quotes"),
    ("<block mapping start>", "; keys of one mapping begin in the same column"),
)
_MAX_VALUES = 10_000
_MAX_DEPTH = 20
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class LimitError(yaml.MarkedYAMLError):
    """The text may be YAML, but is more than a configuration file may contain."""


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2, as editors read it, of limited size.

    PyYAML's own rules are those of YAML 1.1, where `no` is false, 1:30 is 90 and 010 is 8.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- the library's interface

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._values_of: dict[yaml.Node | None, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; raises LimitError."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth == _MAX_DEPTH:
            message = f"is nested more than {_MAX_DEPTH} deep"
            raise LimitError(problem=message, problem_mark=event.start_mark)
        before = self._values
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            # One inside of its own value has no number yet.
            self._values += self._values_of.get(node, 1)
        else:
            self._values += 1
            self._values_of[node] = self._values - before
        if self._values > _MAX_VALUES:
            message = f"contains more than {_MAX_VALUES:,} values, with aliases written out"
            raise LimitError(problem=message, problem_mark=event.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the data of a node; raises ConstructorError if its tag does not fit."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            # PyYAML's reaction to a tag such as `!!int` in front of other text.
            message = f"found a value that does not fit the tag {node.tag}; leave the tag out"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from None


for _tag, _regex, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]{0,18})", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", "-+0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_regex})$"), list(_first)
    )


def parse_value(text: str) -> Any:
    """Return the value of a piece of YAML or JSON; raises yaml.YAMLError, such as LimitError."""
    return yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader


def read_yaml(content: bytes, path: Path, keys: Mapping[str, Key]) -> Draft:
    """Read the content of the file at `path`, which may have these keys.

    Relative paths in it are relative to the file. Problems with single keys are left in the draft.
    Raises SettingsError if the content is not a YAML mapping.
    """
    reader = _Reader(path, keys)
    try:
        text = content.decode("utf-8-sig")
        reader.read(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reader.fail(f"is not UTF-8 text: see line {line}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.fail(f"contains a character that YAML forbids: see line {line}")
    except LimitError as error:
        reader.fail(str(error.problem), error.problem_mark)
    except yaml.MarkedYAMLError as error:
        parts = [part for part in (error.context, error.problem) if part]
        hint = next((hint for sign, hint in _HINTS if sign in (error.problem or "")), "")
        reader.fail(f"is not YAML: {', '.join(parts)}{hint}", error.problem_mark)
    return reader.draft


class _Reader:
    """Turns the nodes of one file into plain data, and records where each was written."""

    def __init__(self, path: Path, keys: Mapping[str, Key]) -> None:
        self.draft = Draft(keys, str(path))
        self._path = path

    def read(self, text: str) -> None:
        """Read the file into the draft; raises what PyYAML raises."""
        self._loader = _Loader(text)
        node = self._loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return
        if not isinstance(node, yaml.MappingNode):
            sections = [name for name, key in self.draft.keys.items() if len(key.path) == 1]
            self.fail(
                f"must contain a mapping with the keys {', '.join(sections)}", node.start_mark
            )
        self.draft.tree = self._value(node, (), node.start_mark)

    def fail(self, message: str, mark: yaml.Mark | None = None) -> NoReturn:
        """Raise SettingsError for the whole file, with the problems found before."""
        origin = f"{self._path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{self._path}"
        problem = Problem(key="", message=message, origin=origin)
        raise SettingsError([*self.draft.problems, problem])

    def _value(
        self, node: yaml.Node, path: KeyPath, mark: yaml.Mark, around: tuple[yaml.Node, ...] = ()
    ) -> Any:
        """Return the data of a node that is part of the nodes `around`; `mark` is its place."""
        if node in around:
            self.fail("contains an alias of a value that the alias is part of", node.start_mark)
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            self.fail(f"has the tag {node.tag}, which is not supported", node.start_mark)
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else None
        if path:
            self.draft.sources[path] = Source(f"{self._path}:{mark.line + 1}", text)
        if isinstance(node, yaml.MappingNode):
            return {
                name: self._value(value, (*path, name), name_mark, (*around, node))
                for name, (name_mark, value) in self._entries(node, path).items()
            }
        if isinstance(node, yaml.SequenceNode):
            return [
                self._value(item, (*path, position), item.start_mark, (*around, node))
                for position, item in enumerate(node.value)
            ]
        value = self._loader.construct_object(node)
        key = self.draft.keys.get(dotted(path))
        if key and key.kind == "path" and value and isinstance(value, str):
            return str(self._path.parent / value)
        return value

    def _entries(
        self, node: yaml.MappingNode, path: KeyPath
    ) -> dict[str, tuple[yaml.Mark, yaml.Node]]:
        """Return the value of each name in a mapping, and where the name is; report duplicates."""
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            name, line = self._name(key_node), key_node.start_mark.line + 1
            if name in lines:
                message = f"is set twice: first in line {lines[name]}"
                key, origin = dotted((*path, name)), f"{self._path}:{line}"
                self.draft.problems.append(Problem(key=key, message=message, origin=origin))
            lines.setdefault(name, line)
        # Put what `<<` merges into the mapping before the keys that override it.
        self._loader.flatten_mapping(node)
        pairs = {self._name(key): (key, value) for key, value in node.value}
        # An alias may lead here again, and must not find the overridden keys twice.
        node.value = list(pairs.values())
        return {name: (key.start_mark, value) for name, (key, value) in pairs.items()}

    def _name(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.fail("has a list or a mapping where a key should be", node.start_mark)
        # As it was written: a key is a name, even if it looks like a number.
        return str(node.value)
