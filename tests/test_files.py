"""Files that are there whole or not at all."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from uadbench.system import files, owners
from uadbench.system.files import (
    read_json,
    replacing,
    scratch_folder,
    sha256_json,
    update_text,
    write_json,
    write_text,
)


def test_an_error_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert path.read_text() == '{\n "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def _write_slowly(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        time.sleep(60)


def test_a_killed_writer_leaves_the_old_file_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    writer = multiprocessing.get_context("spawn").Process(target=_write_slowly, args=(path,))
    writer.start()
    while not list(tmp_path.glob("*.partial")):
        time.sleep(0.02)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()

    assert path.read_text() == "1\n"
    write_json(path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})


def test_nan_is_not_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not (tmp_path / "a.json").exists()


# ---- several machines --------------------------------------------------------------------------


def _foreign(folder: Path, name: str, age_s: float) -> Path:
    """A file that a process of another machine writes, touched last some time ago."""
    path = folder / f".{name}.0123456789ab-77-1.00ff.partial"
    path.write_text("half")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_the_half_written_file_of_another_machine_stays_until_it_is_silent_for_long(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    young, old = _foreign(tmp_path, "a.json", 3600), _foreign(tmp_path, "a.json.", files.ABANDONED_S + 5)
    old = old.rename(old.with_name(".a.json.0123456789ab-78-1.00ff.partial"))

    write_json(path, 1)

    assert young.exists()
    assert not old.exists()


def test_the_half_written_file_of_a_process_whose_number_lives_again_is_removed(tmp_path: Path) -> None:
    place, pid, ticks = owners.mark().split("-")
    left = tmp_path / f".a.json.{place}-{pid}-{int(ticks) - 1}.00ff.partial"
    left.write_text("half")
    mine = tmp_path / f".a.json.{place}-{pid}-{ticks}.00ff.partial"
    mine.write_text("of another thread")

    write_json(tmp_path / "a.json", 1)

    assert not left.exists()
    assert mine.exists()


# Numbers of processes differ between the name spaces, as they do between machines.
APART = 'i=0; while [ $i -lt "$1" ]; do /bin/true; i=$((i+1)); done; "$2" -c "$3" "$1" "$4"; exit $?'
LOOP = """
import sys, pathlib
from uadbench.system.files import write_json
number, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
(folder / f"ready-{number}").touch()
while len(list(folder.glob("ready-*"))) < 4:
    pass
for turn in range(150):
    write_json(folder / "shared.json", {"by": number, "turn": turn, "more": "x" * 20_000})
"""


def test_processes_of_several_name_spaces_write_one_file_and_none_fails(
    tmp_path: Path, name_space: tuple[str, ...]
) -> None:
    writers = [
        subprocess.Popen(
            [*name_space, "sh", "-c", APART, "sh", str(5 * n), sys.executable, LOOP, str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    ended = [(writer.communicate()[1], writer.returncode) for writer in writers]

    assert [code for _, code in ended] == [0, 0, 0, 0], ended
    assert read_json(tmp_path / "shared.json", dict[str, int | str]) is not None
    assert not list(tmp_path.glob(".*"))


def test_a_list_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    update_text(path, "ä\n")
    before = path.stat()
    update_text(path, "ä\n")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    update_text(path, "b\n")
    assert path.read_text() == "b\n"


# ---- damaged side files, and folders for a while -----------------------------------------------


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"a": 1}', b"[" * 100_000, b"null"])
def test_a_side_file_that_is_empty_damaged_or_of_another_form_is_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "roots.json"
    path.write_bytes(content)
    assert read_json(path, dict[str, str]) is None
    assert f"{path} is damaged" in caplog.text


def test_a_side_file_that_is_missing_is_none_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_json(tmp_path / "none.json", dict[str, str]) is None
    assert read_json(tmp_path / "none" / "none.json", dict[str, str]) is None
    assert not caplog.text
    (tmp_path / "folder.json").mkdir()
    assert read_json(tmp_path / "folder.json", dict[str, str]) is None
    os.mkfifo(tmp_path / "pipe.json")
    assert read_json(tmp_path / "pipe.json", dict[str, str]) is None


def _keep_scratch(parent: Path, sign: Path) -> None:
    with scratch_folder(parent) as folder:
        (folder / "large.npy").write_text("x")
        sign.touch()
        time.sleep(60)


def test_the_scratch_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    parent, sign = tmp_path / "scratch", tmp_path / "sign"
    process = multiprocessing.get_context("spawn").Process(target=_keep_scratch, args=(parent, sign))
    process.start()
    while not sign.exists():
        time.sleep(0.02)
    with scratch_folder(parent):
        assert len(list(parent.iterdir())) == 2  # the other process lives
    process.kill()
    process.join()
    assert len(list(parent.iterdir())) == 1
    with scratch_folder(parent) as mine:
        assert list(parent.iterdir()) == [mine]
    assert not list(parent.iterdir())


def test_files_get_the_rights_that_the_user_s_mask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
