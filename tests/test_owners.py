"""Processes told from others: of other machines, other name spaces, and later ones of the same number."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from uadbench.system import owners
from uadbench.system.owners import Owner


def test_this_process_lives_and_one_that_was_waited_for_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ticks = owners.start_ticks(child.pid)
    assert ticks is not None
    assert owners.has_ended(child.pid, ticks) is False
    child.kill()
    child.wait()
    assert owners.has_ended(child.pid, ticks) is True
    assert owners.marked_has_ended(owners.mark()) is False
    assert Owner.me().has_ended() is False


def test_a_zombie_and_a_later_process_of_the_same_number_have_ended() -> None:
    child = subprocess.Popen(["true"])
    ticks = owners.start_ticks(child.pid)
    while not owners.is_zombie(child.pid):
        pass
    assert ticks is not None
    assert owners.has_ended(child.pid, ticks) is True
    child.wait()
    me = Owner.me()
    assert replace(me, ticks=me.ticks + 1).has_ended() is True


def test_setting_the_clock_does_not_end_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Owner.me()
    monkeypatch.setattr("time.time", lambda: 2.0e9)
    monkeypatch.setattr("psutil.boot_time", lambda: 1.0)
    monkeypatch.setattr("psutil.Process.create_time", lambda self: 1.0)
    assert me.has_ended() is False
    assert owners.marked_has_ended(owners.mark()) is False


@pytest.mark.parametrize("change", [{"place": "another"}])
def test_nothing_is_known_about_a_process_of_another_machine(change: dict[str, str]) -> None:
    assert replace(Owner.me(), **change).has_ended() is None  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a-b", "a-1-2", "1234-abc", f"{owners.this_place()}-x-1"])
def test_nothing_is_known_about_a_mark_of_another_place_or_form(text: str) -> None:
    assert owners.marked_has_ended(text) is None


def test_another_name_space_is_another_place(name_space: tuple[str, ...]) -> None:
    code = "from uadbench.system import owners; print(owners.mark(), owners.marked_has_ended(owners.mark()))"
    said = subprocess.run(
        [*name_space, sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert said[1] == "False"
    assert owners.marked_has_ended(said[0]) is None


def test_a_name_space_that_sees_the_numbers_of_another_takes_no_process_for_dead(
    name_space: tuple[str, ...],
) -> None:
    """Where /proc was not mounted anew, a number there means another process."""
    code = (
        "import os; from uadbench.system import owners; "
        "print(owners.marked_has_ended(owners.mark()), owners.has_ended(os.getppid() or 1, 5))"
    )
    command = [*name_space[:3], sys.executable, "-c", code]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert said[0] == "False"
    assert said[1] in ("None", "True")
    assert os.getpid() != 1
