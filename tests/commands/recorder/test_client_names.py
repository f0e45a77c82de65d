"""Pseudonyms of clients: ignored if and only if the client is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.commands.recorder.pseudonyms import ClientNames, Pseudonyms
from presenced.presence.name_patterns import ClientFilter
from presenced.settings import SettingsError


def names_of(*patterns: str, own: tuple[str, ...] = ()) -> tuple[ClientNames, ClientFilter]:
    client_filter = ClientFilter(own, patterns)
    return ClientNames(Pseudonyms(), client_filter, patterns), client_filter


@settings(deadline=None)
@given(
    st.text(max_size=12) | st.sampled_from(["own", "lab-1", "client-1", "x[1", "a-b-c", "]9"]),
    st.lists(
        st.sampled_from(
            ["lab-*", "client-*", "*-b-*", "x[[]?*", "[!a-z]*", "[]]*", "exact", "device-[0-9]*"]
        )
    ),
)
def test_a_pseudonym_is_ignored_if_and_only_if_the_name_is(name: str, patterns: list[str]) -> None:
    names, client_filter = names_of(*patterns, own=("own",))
    assert client_filter.why_ignored(names(name)) == client_filter.why_ignored(name)
    assert names(name) == names(name)


def test_own_and_literal_names_stay() -> None:
    names, _ = names_of("exact", "lab-*", own=("own",))
    assert [names(each) for each in ("own", "exact", "")] == ["own", "exact", ""]
    assert names("lab-berlin").startswith("lab-")
    assert "berlin" not in names("lab-berlin")
    assert names("lab-1") != names("lab-2")


@pytest.mark.parametrize("pattern", ["lab-?", "lab-[0-9]", "[\N{SNOWMAN}]*"])
def test_a_pattern_that_pseudonyms_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r"presence\.ignore_clients = .*write \* where"):
        names_of(pattern)


def test_patterns_that_leave_no_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="leaves no name"):
        names_of("*")
