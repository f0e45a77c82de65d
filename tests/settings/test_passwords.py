import pytest

from presenced.settings import SettingsError, read_password


def settings_of(load, file):
    return load(f"mqtt: {{username: u, password_file: {file}}}").mqtt


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_password_of_a_file(load, tmp_path, content):
    (tmp_path / "password").write_bytes(content)
    assert read_password(settings_of(load, "password")) == "hunter2"


def test_password_of_the_settings(load):
    assert read_password(load("mqtt: {username: u, password: p}").mqtt) == "p"
    assert read_password(load().mqtt) is None


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("nothing", None, "missing"),
        (".", None, "unreadable"),
        ("empty", b"\n", "malformed"),
        ("binary", b"\xff", "malformed"),
    ],
)
def test_bad_password_files_are_named(load, tmp_path, file, content, kind):
    if content is not None:
        (tmp_path / file).write_bytes(content)
    mqtt = settings_of(load, file)
    with pytest.raises(SettingsError, match=r"mqtt\.password_file") as caught:
        read_password(mqtt)
    assert caught.value.problems[0].kind == kind
