"""What is known about files, kept from run to run: a file is read again only when it has changed."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from uadbench.errors import SubjectError
from uadbench.files import sha256_file, write_json


class FileMemory:
    """A word about each file, as long as its size and its time of change stay the same."""

    def __init__(self, path: Path) -> None:
        """Read what was kept at `path`; an unreadable memory is an empty one."""
        self._path = path
        self._known = self._kept()
        self._changed = False

    def _kept(self) -> dict[str, list[str | int]]:
        try:
            kept: dict[str, list[str | int]] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return {}  # it only saves time
        return kept

    def word(self, path: Path, find_out: Callable[[Path], str]) -> str:
        """What `find_out` says about a file, or said when the file was as it is now."""
        try:
            state = path.stat()
            known = self._known.get(str(path.absolute()))
            if known is None or known[:2] != [state.st_size, state.st_mtime_ns]:
                known = [state.st_size, state.st_mtime_ns, find_out(path)]
                self._known[str(path.absolute())] = known
                self._changed = True
        except OSError as error:
            raise SubjectError(f"{path} cannot be read ({error.strerror}): fetch it again.") from error
        return str(known[2])

    def hash(self, path: Path) -> str:
        """SHA-256 of a file's bytes."""
        return self.word(path, sha256_file)

    def hash_all(self, paths: Iterable[Path], workers: int) -> None:
        """Learn the hashes of many files; those that cannot be read are met again when asked for."""

        def learn(path: Path) -> None:
            with suppress(SubjectError):
                self.hash(path)

        with ThreadPoolExecutor(max(1, workers)) as threads:
            list(threads.map(learn, sorted(set(paths))))

    def keep(self) -> None:
        """Write down what is new, beside what other processes have written meanwhile."""
        if self._changed:
            write_json(self._path, self._kept() | self._known)
            self._changed = False
