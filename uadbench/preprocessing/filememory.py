"""What is known about files, kept from run to run: a file is read again only when it has changed."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from uadbench.system import pool
from uadbench.system.errors import SubjectError
from uadbench.system.files import read_json, sha256_file, write_json

# Size, time of change of the content and of the entry (ns), what was found. The second time cannot be set
# back, so that a change is seen whose author has kept the first.
Known = tuple[int, int, int, str]


class FileMemory:
    """A word about each file, as long as its size and its times of change stay the same."""

    def __init__(self, path: Path) -> None:
        """Read what was kept at `path`; an unreadable memory is an empty one."""
        self._path = path
        self._known = read_json(path, dict[str, Known]) or {}  # it only saves time
        self._fresh: set[str] = set()  # found out by this process

    def word(self, path: Path, find_out: Callable[[Path], str], fresh: bool = False) -> str:
        """What `find_out` says about a file, or said when the file was as it is now.

        With `fresh` only what this process has found out itself is believed.
        """
        name = str(path.absolute())
        try:
            state = path.stat()
            known = self._known.get(name)
            at = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            if known is None or known[:3] != at or (fresh and name not in self._fresh):
                known = self._known[name] = (*at, find_out(path))
                self._fresh.add(name)
        except OSError as error:
            raise SubjectError(f"{path} cannot be read ({error.strerror}): fetch it again.") from error
        return known[3]

    def hash(self, path: Path, fresh: bool = False) -> str:
        """SHA-256 of a file's bytes."""
        return self.word(path, sha256_file, fresh)

    def hash_all(self, paths: Iterable[Path], workers: int, fresh: bool = False) -> None:
        """Learn the hashes of many files; those that cannot be read are met again when asked for."""

        def learn(path: Path) -> None:
            with suppress(SubjectError):
                self.hash(path, fresh)

        for _ in pool.mapped(learn, sorted(set(paths)), workers):
            pass

    def keep(self) -> None:
        """Write down what is new, beside what other processes have written meanwhile."""
        new = {name: self._known[name] for name in self._fresh}
        kept = (read_json(self._path, dict[str, Known]) or {}) if new else {}
        if kept != kept | new:
            write_json(self._path, kept | new)
