"""Locks, with processes that hold them, want them and are killed."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from uadbench.system import locks
from uadbench.system.locks import OWNER, held, owner_of, trying
from uadbench.system.owners import Owner

CONTEXT = multiprocessing.get_context("spawn")


def _hold(path: Path, sign: Path) -> None:
    with held(path):
        sign.touch()
        time.sleep(60)


def _count(path: Path, counter: Path, times: int) -> None:
    """Add to a number in a file, in a way that loses counts unless one process at a time does it."""
    for _ in range(times):
        with held(path):
            before = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(before + 1))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def lock_of(owner: Owner, path: Path, age_s: float = 0) -> None:
    """A lock as another process left it, last touched some time ago."""
    place = path.with_name(f"{path.name}.1")
    place.mkdir()
    (place / OWNER).write_text(json.dumps(asdict(owner)))
    then = time.time() - age_s
    os.utime(place / OWNER, (then, then))


def test_one_process_at_a_time_and_nobody_is_forgotten(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    workers = [
        CONTEXT.Process(target=_count, args=(tmp_path / "lock", counter, 5)) for _ in range(4)
    ]  # fmt: skip

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert counter.read_text() == "20"
    assert owner_of(tmp_path / "lock") is None
    assert len(list(tmp_path.glob("lock.*"))) == 1  # earlier generations are swept away
    assert not list(tmp_path.glob(".lock*"))


def test_the_lock_of_a_killed_process_is_taken_over_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, sign = tmp_path / "lock", tmp_path / "sign"
    process = CONTEXT.Process(target=_hold, args=(path, sign))
    process.start()
    wait_for(sign.exists)
    owner = owner_of(path)
    assert owner is not None
    assert owner.pid == process.pid
    with trying(path) as mine:
        assert not mine

    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert owner_of(path) is None
    with trying(path) as mine:
        assert mine
    assert f"lock was left by process {process.pid} on" in caplog.text


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    lock_of(replace(Owner.me(), ticks=1), tmp_path / "lock")

    assert owner_of(tmp_path / "lock") is None


@pytest.mark.parametrize(("age_s", "alive"), [(1.0, True), (locks.SILENCE_S + 5, False)])
def test_of_an_owner_elsewhere_only_the_age_counts(tmp_path: Path, age_s: float, alive: bool) -> None:
    lock_of(replace(Owner.me(), place="node-7", pid=1, ticks=1), tmp_path / "lock", age_s)

    assert (owner_of(tmp_path / "lock") is not None) == alive
    with trying(tmp_path / "lock") as mine:
        assert mine != alive


def test_a_held_lock_is_touched_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.05)
    with trying(tmp_path / "lock"):
        file = tmp_path / "lock.1" / OWNER
        os.utime(file, (1.0, 1.0))
        wait_for(lambda: file.stat().st_mtime > 1)


def test_a_damaged_lock_is_free_and_a_generation_is_made_once(tmp_path: Path) -> None:
    lock_of(Owner.me(), tmp_path / "lock")
    (tmp_path / "lock.1" / OWNER).write_text("{")

    assert not locks._make(tmp_path / "lock.1")
    with trying(tmp_path / "lock") as mine:
        assert mine
        assert (tmp_path / "lock.2" / OWNER).exists()


def test_a_generation_that_others_have_passed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process looks, sleeps, and makes a generation that was swept away while it slept."""
    looks = iter([[], [tmp_path / "lock.1", tmp_path / "lock.2"]])
    monkeypatch.setattr(locks, "_generations", lambda path: next(looks))

    assert locks._take(tmp_path / "lock") is None
    assert not list(tmp_path.iterdir())
