"""Arrays and source are read by several threads at once, and what is no array is refused."""

import ast
import gc
import io
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from uadbench.system.arrays import load_array, read_array
from uadbench.system.parsing import parse_file

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Finalised:
    """Rubbish of which the collector lets Python code run, as objects of other libraries do."""

    def __init__(self) -> None:
        """In a circle, so that only the collector frees it."""
        self.me = self

    def __del__(self) -> None:
        """Long enough for another thread to be given its turn."""
        for _ in range(50):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads and the collector take turns as often as can be."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5, 2, 2)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


def stored(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    npy.write_array(content, array)
    return content.getvalue()


@pytest.mark.usefixtures("restless")
def test_threads_that_parse_at_once_do_not_lose_count(tmp_path: Path) -> None:
    source, content = tmp_path / "module.py", stored(ARRAY)
    source.write_text("x = [1, (2, 3)]\n" * 5)
    kinds: list[Callable[[], object]] = [lambda: read_array(io.BytesIO(content)), lambda: parse_file(source)]

    def work(number: int) -> None:
        for _ in range(300):
            Finalised()
            kinds[number % 2]()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))


@pytest.mark.parametrize(
    "array", [ARRAY, np.asfortranarray(ARRAY), ARRAY[:0], np.array(["a", "bc"]), ARRAY > 2]
)
def test_an_array_is_read_as_numpy_wrote_it(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "array.npy", array)
    read = load_array(tmp_path / "array.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        stored(ARRAY)[:-1],
        stored(ARRAY)[:40],
        stored(ARRAY).replace(b"\x01\x00", b"\x09\x00", 1),
    ],
)
def test_what_is_no_array_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # numpy's words, and ours
        read_array(io.BytesIO(content))


def test_an_array_of_objects_is_refused() -> None:
    content = io.BytesIO()
    npy.write_array(content, np.array([{}], dtype=object), allow_pickle=True)
    content.seek(0)
    with pytest.raises(ValueError, match="objects"):
        read_array(content)


def test_source_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x = 1\n")
    assert isinstance(parse_file(tmp_path / "module.py").body[0], ast.Assign)
