"""Reading files: regular ones only, once in a look, and never on the event loop."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from presenced.settings.file_access import FileAccess
from presenced.settings.files import FileSnapshot
from presenced.settings.problems import SettingsError
from waiting import until_async


def problem(path: Path, key: str = "mqtt.tls.cert") -> str:
    with pytest.raises(SettingsError) as caught:
        FileSnapshot().read(path, key)
    (found,) = caught.value.problems
    return str(found)


def test_a_file_is_read_once_in_a_look(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    snapshot = FileSnapshot()
    assert snapshot.read(file) == b"before"
    file.write_text("after")
    assert snapshot.read(file) == b"before"
    assert FileSnapshot().read(file) == b"after"


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
        what = "a FIFO (named pipe)"
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
        what = "a socket"
    text = problem(path)
    assert text == (
        f"mqtt.tls.cert = {path}: is {what}, not a regular file. Put a regular file in its place"
    )


def test_devices_and_directories_are_refused(tmp_path: Path) -> None:
    assert "is a character device, not a regular file" in problem(Path("/dev/zero"))
    assert "is a directory. Name the file in it" in problem(tmp_path)


def test_a_fifo_at_the_end_of_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").symlink_to("fifo")
    assert "is a FIFO" in problem(tmp_path / "file")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in problem(tmp_path / "loop")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1024 * 1024)
    assert len(FileSnapshot().read(file)) == 1024 * 1024
    file.write_bytes(b"x" * (1024 * 1024 + 1))
    assert "is larger than 1 MiB" in problem(file)


def test_digests_differ_if_contents_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    seen = set()
    for content in (None, b"", b"a", b"b", b"ab"):
        if content is not None:
            file.write_bytes(content)
        seen.add(FileSnapshot().digest(file))
    assert len(seen) == 5
    assert FileSnapshot().digest(file) in seen


def test_a_change_counts_when_two_looks_have_found_the_same(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("0")
    contents = iter(["1", "2", "3", "3"])
    seen = []

    def read(snapshot: FileSnapshot) -> bytes:
        # As if another process wrote between two looks.
        file.write_text(next(contents))
        seen.append(snapshot.read(file))
        return seen[-1]

    async def scenario() -> None:
        access = FileAccess("test", pause=0.001)
        before = (await access.look(lambda snapshot: snapshot.read(file))).digests
        assert not await access.changed(before)
        look = await access.look_until_settled(read)
        assert look.value == b"3"
        assert seen == [b"1", b"2", b"3", b"3"]
        assert await access.changed(before)
        assert not await access.changed(look.digests)

    asyncio.run(scenario())


def test_a_file_that_changes_all_the_time_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "file"
    numbers = iter(range(1000))

    def read(snapshot: FileSnapshot) -> bytes:
        file.write_text(str(next(numbers)))
        return snapshot.read(file)

    async def scenario() -> None:
        with pytest.raises(SettingsError, match="changed during each of 20 looks"):
            await FileAccess("test", pause=0.0).look_until_settled(read)

    asyncio.run(scenario())


def test_what_is_wrong_with_a_file_is_an_outcome_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "file"

    async def scenario() -> None:
        access = FileAccess("test", pause=0.0)
        look = await access.look_until_settled(lambda snapshot: snapshot.read(file))
        with pytest.raises(SettingsError, match="no such file"):
            look.value  # noqa: B018 - it raises
        assert not await access.changed(look.digests)
        file.write_text("there")
        assert await access.changed(look.digests)

    asyncio.run(scenario())


@contextmanager
def hanging() -> Iterator[threading.Event]:
    """An event that a thread waits for, and that is set at the end in any case."""
    released = threading.Event()
    try:
        yield released
    finally:
        released.set()


def test_a_look_that_hangs_is_given_up_and_occupies_one_thread(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")

    async def scenario() -> None:
        access = FileAccess("test", time_limit=0.2)
        entered = threading.Event()
        with hanging() as released:

            def hang(snapshot: FileSnapshot) -> None:
                snapshot.reading = file
                entered.set()
                released.wait(30)

            for _ in range(3):
                with pytest.raises(SettingsError) as caught:
                    await access.look(hang)
                await asyncio.to_thread(entered.wait, 30)
            assert str(caught.value) == (
                f"{file}: could not be read within 0.2 s. Check the file system that holds it"
            )
            assert [thread.name for thread in threading.enumerate()].count("test") == 1

        async def is_read() -> bool:
            try:
                look = await access.look(lambda snapshot: snapshot.read(file))
            except SettingsError:  # a busy machine
                return False
            return look.value == b"content"

        await until_async(is_read)

    asyncio.run(scenario())
