"""Reading the YAML file, with the line of every key."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from presenced.settings.keys import KEYS, Draft, Key, KeyPath, Source, dotted
from presenced.settings.problems import Kind, Problem, SettingsError

_HINTS = (
    ("'\\t'", "; indent with spaces, not tabs"),
    ("cannot start any token", "; put the value in quotes"),
    ("mapping values are not allowed", "; put a value that holds ': ' in quotes"),
    ("<block mapping start>", "; keys of one mapping begin in the same column"),
)
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2, as editors read it.

    PyYAML's own rules are those of YAML 1.1, where `no` is false, 1:30 is 90 and 010 is 8.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- the library's interface


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


def read_file(path: Path, keys: Mapping[str, Key] = KEYS) -> Draft:
    """Read a file that may hold these keys; relative paths in it are relative to the file.

    Raises SettingsError when there is no mapping to be had from it. What is wrong with single
    keys is left in the draft.
    """
    return _Reader(path, keys).read()


def parse_value(text: str) -> Any:
    """The value that a piece of YAML or JSON stands for; raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader


class _Reader:
    """Turns the nodes of one file into plain data and notes where they were."""

    _loader: _Loader

    def __init__(self, path: Path, keys: Mapping[str, Key]) -> None:
        self._path = path
        self._keys = keys
        self._draft = Draft()
        self._open: list[yaml.Node] = []
        self._checked: set[yaml.Node] = set()

    def read(self) -> Draft:
        text = self._text()
        try:
            self._loader = _Loader(text)
            self._read_document()
        except yaml.MarkedYAMLError as error:
            self._fail_at(error.problem_mark, _explain(error))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._fail(f"holds a character that YAML forbids: see line {line}")
        except RecursionError:
            self._fail("is nested too deeply")
        self._anchor_paths()
        return self._draft

    def _text(self) -> str:
        try:
            return self._path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            self._fail("no such file", "missing")
        except IsADirectoryError:
            self._fail("is a directory, not a file", "unreadable")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self._fail(f"is not UTF-8 text: see line {line}", "unreadable")
        except OSError as error:
            self._fail(f"cannot be read: {error.strerror}", "unreadable")

    def _read_document(self) -> None:
        node = self._loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return
        if not isinstance(node, yaml.MappingNode):
            sections = ", ".join(name for name, key in self._keys.items() if len(key.path) == 1)
            self._fail_at(node.start_mark, f"must hold a mapping with the keys {sections}")
        self._draft.tree = self._mapping(node, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        if node in self._open:
            self._fail_at(node.start_mark, "holds an alias of something that it is part of")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            self._fail_at(node.start_mark, f"has the tag {node.tag}, which means nothing here")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, at)) for at, item in enumerate(node.value)]
            return self._loader.construct_object(node)
        finally:
            self._open.pop()

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self._note(path, node.start_mark, node)
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        # Once only: a mapping that an alias leads to again holds what was merged into it.
        if node not in self._checked:
            self._checked.add(node)
            self._find_duplicates(node, path)
        self._loader.flatten_mapping(node)
        mapping = {}
        for key_node, value_node in node.value:
            name = self._name(key_node)
            self._note((*path, name), key_node.start_mark, value_node)
            mapping[name] = self._value(value_node, (*path, name))
        return mapping

    def _find_duplicates(self, node: yaml.MappingNode, path: KeyPath) -> None:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            name, line = self._name(key_node), key_node.start_mark.line + 1
            if name in lines:
                self._draft.problems.append(
                    Problem(
                        key=dotted((*path, name)),
                        message=f"is there twice: line {lines[name]} has it already",
                        origin=f"{self._path}:{line}",
                    )
                )
            lines.setdefault(name, line)

    def _name(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._fail_at(node.start_mark, "has a list or a mapping where a key should be")
        # As it was written: a key is a name, also where it looks like a number.
        return str(node.value)

    def _note(self, path: KeyPath, mark: yaml.Mark, node: yaml.Node) -> None:
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else None
        self._draft.sources[path] = Source(f"{self._path}:{mark.line + 1}", text)

    def _anchor_paths(self) -> None:
        for key in self._keys.values():
            if key.holds == "path":
                self._anchor(self._draft.tree, key.path)

    def _anchor(self, tree: Any, path: tuple[str, ...]) -> None:
        value = tree.get(path[0]) if isinstance(tree, dict) else None
        if len(path) > 1:
            self._anchor(value, path[1:])
        elif isinstance(value, str) and value:
            tree[path[0]] = str(self._path.parent / value)

    def _fail_at(self, mark: yaml.Mark | None, message: str) -> NoReturn:
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        self._fail(message, place=place)

    def _fail(self, message: str, kind: Kind = "setting", *, place: str = "") -> NoReturn:
        problem = Problem(key="", message=message, origin=f"{self._path}{place}", kind=kind)
        raise SettingsError([*self._draft.problems, problem])


def _explain(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    hint = next((hint for sign, hint in _HINTS if sign in (error.problem or "")), "")
    return f"is not YAML: {', '.join(parts)}{hint}"
