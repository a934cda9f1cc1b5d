"""Label maps: healthy scans drawn from segmentations of real people; a subject is a segmentation."""

from collections.abc import Iterator
from pathlib import Path

from uadbench import phantom
from uadbench.data.session import LeftOut, Session
from uadbench.system.files import read_json
from uadbench.system.progress import Progress

from . import cohort

DRAWS = 6  # scans of each segmentation


def draw(root: Path, folder: Path, workers: int, progress: Progress) -> None:
    """Draw every segmentation under `root` that is not drawn yet; what is wrong with one is noted."""
    cohort.write_drawn(root, folder, DRAWS, workers, progress)


def survey(root: Path, workers: int, progress: Progress) -> Iterator[Session | LeftOut]:
    """What `subjects` would answer once everything under `root` had been drawn; nothing is written."""
    names, left_out = cohort.survey(root, workers, progress)
    yield from (LeftOut(name, reason) for name, reason in left_out.items())
    for subject in names:
        yield from _draws(subject, root)


def sessions(drawn: Path) -> Iterator[Session | LeftOut]:
    """Every draw of every segmentation, and the files that could not be used."""
    known = read_json(drawn / cohort.INDEX, dict[str, dict[str, str]]) or {}
    for name, reason in known.get("left_out", {}).items():
        yield LeftOut(name, reason)
    for subject, folder in known.get("drawn", {}).items():
        yield from _draws(subject, drawn / folder)


def _draws(subject: str, folder: Path) -> Iterator[Session]:
    """The scans of one segmentation, which lie in a folder, or will."""
    for number in range(1, DRAWS + 1):
        files = phantom.list_files(folder, f"{subject}-{number}", lesion=False)
        brain = files.pop("brain")
        yield Session(
            id=f"{subject}-{number}",
            cohort="labelmaps",
            subject=subject,
            label=str(number),
            images=files,
            healthy=True,
            brain_mask=brain,
            space="co-registered",
            skull_stripped=True,
        )
