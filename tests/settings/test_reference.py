"""docs/reference/configuration.md is current, and what it says about each key is right."""

import re
from pathlib import Path

import pytest

from presenced.settings import FLAGS, load_settings
from presenced.settings.keys import KEYS
from presenced.settings.loading import variable
from presenced.settings.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
PARTS = {
    key: part
    for key, part in re.findall(
        r"^##+ (\S+)\n(.*?)(?=^##|\Z)", reference(), re.MULTILINE | re.DOTALL
    )
    if "\n- Type: " in part
}
ENDPOINT = {"PRESENCED_MQTT__ENDPOINT": "broker.example.org"}


def shown(key: str, title: str) -> list[str]:
    """Return what is written as code in one line of a key's list."""
    found = re.search(rf"^- {title}: (.*)$", PARTS[key], re.MULTILINE)
    return re.findall("`([^`]*)`", found[1]) if found else []


def test_the_page_is_current():
    """If it fails, run `make docs`."""
    assert PAGE.read_text() == reference()


def test_every_key_has_a_part_and_every_part_a_key():
    assert list(PARTS) == [name for name, key in KEYS.items() if key.kind != "section"]


def test_only_the_endpoint_has_no_default():
    without = {key for key, part in PARTS.items() if "- Default: none" in part}
    assert without == {"mqtt.endpoint"}
    load_settings(None, environ=ENDPOINT)


@pytest.mark.parametrize("key", [key for key in PARTS if shown(key, "Default")])
def test_the_default_that_is_shown_holds_in_the_environment_and_in_the_file(tmp_path, key):
    (default,) = shown(key, "Default")
    (name, *_) = shown(key, "Environment")
    given = load_settings(None, environ={**ENDPOINT, name: default})
    assert given == load_settings(None, environ=ENDPOINT)
    file = tmp_path / "presenced.yaml"
    *sections, last = key.split(".")
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    file.write_text("\n".join([*lines, f"{'  ' * len(sections)}{last}: {default}"]))
    assert load_settings(file, environ=ENDPOINT) == given


def test_variables_and_flags_are_those_that_are_read():
    assert [shown(key, "Environment")[0] for key in PARTS] == [variable(KEYS[key]) for key in PARTS]
    assert {key: shown(key, "Flag")[0] for key in PARTS if shown(key, "Flag")} == FLAGS


def test_one_entry_of_a_mapping_is_set_by_the_variable_that_is_shown():
    _, name = shown("presence.offline_delay_by_reason", "Environment")
    name = name.replace("NAME", "CONNECTION_LOST")
    settings = load_settings(None, environ={**ENDPOINT, name: "30s"})
    assert settings.presence.offline_delay_by_reason == {"CONNECTION_LOST": 30.0}


def test_docstrings_are_escaped_for_markdown():
    text = re.sub("`[^`]*`", "", "".join(PARTS.values()))
    assert r"\<site>" in text
    assert re.search(r"(?<!\\)[<*|]", text) is None
