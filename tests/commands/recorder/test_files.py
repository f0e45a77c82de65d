"""The files of a recording: whole lines, numbered names, full disks."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.commands.recorder.files import RecordingError, RecordingFiles


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(directory.iterdir())}


def test_a_line_that_does_not_fit_begins_the_next_file(tmp_path: Path) -> None:
    files = RecordingFiles(tmp_path / "r.jsonl", 10)
    files.write([b"1234\n", b"6789\n", b"b\n"])
    files.write([b"much longer than that\n", b"c\n"])
    files.close()
    assert contents(tmp_path) == {
        "r.jsonl": b"1234\n6789\n",
        "r.jsonl.0002": b"b\n",
        "r.jsonl.0003": b"much longer than that\n",
        "r.jsonl.0004": b"c\n",
    }
    assert (files.count, files.total) == (4, 36)


@settings(deadline=None)
@given(
    batches=st.lists(st.lists(st.binary(max_size=9).map(lambda data: data.hex().encode() + b"\n"))),
    max_size=st.integers(1, 60),
)
def test_the_files_in_order_contain_all_lines(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], max_size: int
) -> None:
    directory = tmp_path_factory.mktemp("files")
    files = RecordingFiles(directory / "r", max_size)
    for batch in batches:
        files.write(batch)
    files.close()
    found = contents(directory)
    assert b"".join(found.values()) == b"".join(line for batch in batches for line in batch)
    for text in found.values():
        assert len(text) <= max_size or text.count(b"\n") == 1
        assert text.endswith(b"\n") or not text


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    RecordingFiles(tmp_path / "r", 10).close()
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.0002", "r.jsonl.17"])
def test_existing_files_of_a_recording_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("earlier")
    with pytest.raises(RecordingError, match=f"{name} exists already, .* choose another"):
        RecordingFiles(tmp_path / "r.jsonl", 10)
    assert contents(tmp_path) == {name: b"earlier"}


def test_files_with_other_names_are_ignored(tmp_path: Path) -> None:
    for name in ("r.jsonl.gz", "r.jsonl.", "q.jsonl", "r.jsonl.0002.gz"):
        (tmp_path / name).touch()
    RecordingFiles(tmp_path / "r.jsonl", 10).close()


def test_a_file_that_appears_later_is_not_overwritten(tmp_path: Path) -> None:
    files = RecordingFiles(tmp_path / "r", 1)
    (tmp_path / "r.0002").write_text("another program's")
    with pytest.raises(RecordingError, match="File exists"):
        files.write([b"1\n", b"2\n"])
    files.close()
    assert contents(tmp_path) == {"r": b"1\n", "r.0002": b"another program's"}


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere: No such file or directory"):
        RecordingFiles(tmp_path / "nowhere" / "r", 10)


def test_a_directory_without_write_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Not even root can create files there.
        with pytest.raises(RecordingError, match="cannot write /proc/self/r:"):
            RecordingFiles(Path("/proc/self/r"), 10)
        return
    tmp_path.chmod(0o500)
    with pytest.raises(RecordingError, match="Permission denied; record where"):
        RecordingFiles(tmp_path / "r", 10)


def test_a_full_disk_leaves_whole_lines(small_disk: Path, fill_up: Callable[[], Path]) -> None:
    files = RecordingFiles(small_disk / "r", 10**9)
    files.write([b"first\n"])
    ballast = fill_up()
    with pytest.raises(RecordingError, match=r"No space left.*first 6 bytes .*Free some space"):
        files.write([b"x" * 10**6 + b"\n"])
    files.close()
    assert (small_disk / "r").read_bytes() == b"first\n"
    ballast.unlink()


def test_a_limit_of_file_sizes_leaves_whole_lines(tmp_path: Path) -> None:
    """Half of the last line fits; it is removed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    files = RecordingFiles(tmp_path / "r", 10**9)
    files.write([b"first\n"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(RecordingError, match=r"File too large.*6 bytes"):
            files.write([b"more than there is room\n"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    files.close()
    assert (tmp_path / "r").read_bytes() == b"first\n"
