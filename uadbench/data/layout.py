"""What adapters share about folders and names: one walk, one way to name volumes, masks of the user."""

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uadbench.data.session import LeftOut, Remark, Slice
from uadbench.data.suffixes import files_of, is_data, pair_of, volume_stem

OWN_MASKS = "masks"  # the folder with brain masks that the user has made
NO_MASK = "has no lesion mask"  # how the reason begins of a session that cannot be tested on
POINTERS = (b"version https://git-lfs.github.com/", b"/annex/objects/")  # files that stand for their content
LONGEST_POINTER = 1024  # bytes
ARCHIVE = re.compile(r"\.(zip|tar|tar\.\w+|tgz|7z|rar)$", re.IGNORECASE)


@dataclass(frozen=True)
class Tree:
    """What lies under a root: files with content, folders (the root too), and what cannot be entered or read.

    `absent` are links and pointers whose content is not here, as DataLad, git-annex and Git LFS leave them.
    """

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    absent: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)  # folders that may not be read


def walk_tree(root: Path) -> Tree:
    """Everything under a root, sorted; linked folders are entered, each real folder once.

    Passed over are links to a folder that holds the root or the link itself, hidden folders (`.git`), and the
    `._` files that macOS leaves beside the real ones.
    """
    tree = Tree()
    entered = {os.path.realpath(root)}
    waiting, linked = deque([root]), deque[Path]()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()  # a real folder before a link to it
        if folder.is_symlink() and folder != root:
            real = os.path.realpath(folder)
            if real in entered or os.path.commonpath([real, os.path.realpath(root)]) == real:
                continue
            entered.add(real)
        tree.folders.append(folder)
        for path in _entries(folder, tree):
            if path.is_symlink() and os.path.isdir(path):
                linked.append(path)
            elif os.path.isdir(path):
                real = os.path.realpath(path)
                if real not in entered:  # else it has been reached by a link
                    entered.add(real)
                    waiting.append(path)
            elif is_absent(path):
                tree.absent.append(path)
            elif path.is_file():
                tree.files.append(path)
    for found in (tree.files, tree.folders, tree.absent, tree.closed):
        found.sort()
    return tree


def _entries(folder: Path, tree: Tree) -> list[Path]:
    """What lies right in a folder, but for what is passed over."""
    try:
        names = os.listdir(folder)
    except OSError:
        tree.closed.append(folder)
        return []
    entries = [folder / name for name in names if not name.startswith("._")]
    return [path for path in entries if not (path.name.startswith(".") and os.path.isdir(path))]


def is_absent(path: Path) -> bool:
    """Whether a file is a link or a pointer whose content is not here."""
    try:
        if path.is_symlink() and not path.exists():
            return True
        if not is_data(path) or not 0 < path.stat().st_size <= LONGEST_POINTER:
            return False
        with open(path, "rb") as opened:
            return opened.read(max(map(len, POINTERS))).startswith(POINTERS)
    except OSError:
        return False


def is_here(path: Path) -> bool:
    """Whether a file is there with its content."""
    return path.is_file() and not is_absent(path)


def find_unseen(root: Path) -> Iterator[LeftOut | Remark]:
    """What no adapter sees: content that was not fetched, folders without leave, one volume in two files."""

    def count(paths: list[Path]) -> str:
        return count_names([str(path.relative_to(root)) for path in paths])

    tree = walk_tree(root)
    stems: dict[tuple[Path, str], list[Path]] = {}
    for path in tree.files:
        stem = volume_stem(path)
        if stem is not None and files_of(path)[0] == path:
            stems.setdefault((path.parent, stem.lower()), []).append(path)
    if double := [path for alike in stems.values() if len(alike) > 1 for path in alike]:
        said = f"{count(double)}: only one of each is used; remove those that are not meant"
        yield Remark("files that differ in case or suffix only", said)
    if tree.absent:
        reason = (
            f"the content of {count(tree.absent)} is not here, only links or pointers to it: "
            f"`datalad get .` (or `git annex get .`, `git lfs pull`) in {root} fetches it"
        )
        yield LeftOut("links without content", reason)
    if tree.closed:
        yield LeftOut("folders that may not be read", count(tree.closed))


def count_names(names: list[str], most: int = 5) -> str:
    """How many names there are, and the first of them, without control characters."""
    first = [name if name.isprintable() else ascii(name)[1:-1] for name in names[:most]]
    rest = ", ..." if len(names) > most else ""
    return f"{len(names)} ({', '.join(first)}{rest})"


def find_files(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Files anywhere under `root` whose name matches a regular expression, in either case, sorted."""
    compiled = re.compile(pattern, re.IGNORECASE)
    for path in walk_tree(root).files:
        if match := compiled.fullmatch(path.name):
            yield path, match


def find_volumes(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Volumes anywhere under `root` whose name without the suffix matches, in either case, sorted.

    Of a pair the header stands for both files, or the one that is there.
    """
    compiled = re.compile(pattern, re.IGNORECASE)
    for path in walk_tree(root).files:
        if match := _matched(path, compiled):
            yield path, match


def _matched(path: Path, stem: re.Pattern[str]) -> re.Match[str] | None:
    name = volume_stem(path)
    match = None if name is None else stem.fullmatch(name)
    pair = pair_of(path) if match else None
    return None if pair and path != pair[0] and pair[0].exists() else match


def find_folders(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Folders anywhere under `root` (and `root` itself) whose name matches, in either case, sorted.

    A folder that holds nothing but a folder of its own name was unpacked one level deeper: the inner one
    is meant.
    """
    compiled = re.compile(pattern, re.IGNORECASE)
    tree = walk_tree(root.absolute())
    inside: dict[Path, set[str]] = {}
    for path in [*tree.files, *tree.folders, *tree.absent]:
        inside.setdefault(path.parent, set()).add(path.name.lower())
    for path in tree.folders:
        match = compiled.fullmatch(path.name)
        if match and inside.get(path) != {path.name.lower()}:
            yield path, match


def find_volume(folder: Path, pattern: str) -> Path | None:
    """The volume right in a folder whose name without the suffix matches, in either case."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return next((path for path in _here(folder) if _matched(path, compiled)), None)


def _here(folder: Path) -> Iterator[Path]:
    """The files with content right in a folder, sorted."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.name.startswith("._") and is_here(path):
            yield path


def explain_lack(folder: Path, what: str, pattern: str) -> str:
    """The reason why a folder is of no use, saying where volumes of the pattern lie deeper inside."""
    deeper = sorted({path.parent for path, _ in find_volumes(folder, pattern)} - {folder})
    where = f"; found deeper, under {deeper[0].relative_to(folder)}: move it up" if deeper else ""
    return f"{what}{where}"


def find_foreign(root: Path, releases: Mapping[str, tuple[str, str]]) -> Iterator[LeftOut]:
    """What lies under a root and is of another release whose names are alike, one item for each.

    `releases` gives for each its pattern of folder names or of file names without suffix, and the reason.
    """
    tree = walk_tree(root.absolute())
    files = {volume_stem(path) or path.name for path in tree.files}
    stems = sorted({path.name for path in tree.folders} | files)
    for release, (pattern, reason) in releases.items():
        compiled = re.compile(pattern, re.IGNORECASE)
        found = [stem for stem in stems if compiled.fullmatch(stem)]
        if found:
            yield LeftOut(release, f"{count_names(found)}: {reason}")


def group_by_session(
    root: Path, pattern: str, contrasts: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], dict[str, Path]], list[LeftOut]]:
    """Images by who and when, then by contrast, and the second copies of an image.

    The last group of the pattern, which is of the name without suffix, is looked up in `contrasts` (by lower
    case), the groups before it say who and when (in upper case). Files in a folder `masks` are the user's
    own masks, and none of these.
    """
    sessions: dict[tuple[str, ...], dict[str, Path]] = {}
    surplus = []
    for path, name in find_volumes(root, pattern):
        if path.parent.name.lower() == OWN_MASKS:
            continue
        *who, contrast = name.groups()
        images = sessions.setdefault(tuple(part.upper() for part in who), {})
        shown = contrasts[contrast.lower()]
        first = images.setdefault(shown, path)
        if first != path:
            reason = f"a second copy beside {first.relative_to(root)}"
            surplus.append(LeftOut(str(path.relative_to(root)), reason, shown))
    return sessions, surplus


def find_own_masks(root: Path) -> dict[str, Path]:
    """The brain masks that the user has made: the volumes in folders named `masks`, by name in lower case."""
    found = [path for path, _ in find_volumes(root, ".+") if path.parent.name.lower() == OWN_MASKS]
    return {path.name.lower(): path for path in found}


def find_own_mask(masks: Mapping[str, Path], stem: str) -> Path | None:
    """The mask whose name is a stem, or begins with it and goes on with neither letter nor digit."""
    named = re.compile(re.escape(stem.lower()) + r"[^0-9a-z].*")
    return next((path for name, path in masks.items() if named.fullmatch(name)), None)


def match_own_masks(masks: Mapping[str, Path], images: Mapping[str, Path]) -> dict[str, Path]:
    """The user's mask of each contrast: `masks/<name of the image file>`, with any ending."""
    found = {
        contrast: find_own_mask(masks, volume_stem(path) or path.name) for contrast, path in images.items()
    }
    return {contrast: path for contrast, path in found.items() if path is not None}


def find_slices(folder: Path, stem: str) -> tuple[list[Slice], list[LeftOut]]:
    """The slices of a stack by their numbers, and those that lack picture or mask, or are there twice.

    The pictures right in a folder are named by the stem, `_`, the number, and `_mask` where they are masks.
    """
    found: dict[bool, dict[int, list[Path]]] = {True: {}, False: {}}
    for path in _here(folder):
        name = re.fullmatch(rf"{re.escape(stem)}_(\d+)(_mask)?\.tiff?", path.name, re.IGNORECASE)
        if name:
            found[bool(name[2])].setdefault(int(name[1]), []).append(path)
    images, masks = found[False], found[True]
    twice = {n for there in (images, masks) for n, paths in there.items() if len(paths) > 1}
    whole = sorted((set(images) & set(masks)) - twice)
    lacks = dict.fromkeys(masks, "has a mask and no image") | dict.fromkeys(images, "has no mask")
    lacks = {n: "is there twice" if n in twice else lacks[n] for n in sorted(set(lacks) - set(whole))}
    lone = [LeftOut(f"{stem} slice {n}", reason) for n, reason in lacks.items()]
    return [Slice(images[n][0], masks[n][0]) for n in whole], lone
