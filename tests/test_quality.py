"""Quality: what is right is not flagged, what is wrong is, with the figure; and the sheets show it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid
from uadbench.preprocessing import contact_sheets, quality
from uadbench.preprocessing.register import WORKING, load_template

G96 = GRIDS["g96"]
AFFINE = np.diag([1.15, 1.15, 1.15, 1.0])  # of a head that was registered


def scan() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    image, brain = load_template()
    noise = np.random.default_rng(0).normal(0, 0.03, image.shape)
    return ((image + noise).clip(0, 1) * brain).astype(np.float32), brain


@pytest.mark.parametrize("grid", ["g48", "g96", "g128"])
def test_a_scan_that_lies_as_it_should_has_no_flag(grid: str) -> None:
    from uadbench.preprocessing import resampling

    image, brain = scan()
    to_scan = np.linalg.inv(WORKING.affine) @ GRIDS[grid].affine
    there = resampling.sample_nearest(brain.view(np.uint8), to_scan, GRIDS[grid].shape) > 0
    picture = resampling.sample_linear(image, to_scan, GRIDS[grid].shape)
    found = quality.assess_quality(picture, there, GRIDS[grid], AFFINE, "T1")
    assert found["flags"] == []
    assert found["dice"] > 0.97
    assert found["correlation"] > 0.8
    assert found["native_ml"] == pytest.approx(1886 / 1.15**3, rel=0.03)
    assert found["margin"] > 0.1


@pytest.mark.parametrize(
    ("axes", "flips", "turned"),
    [((0, 1, 2), (1,), "RPS"), ((0, 1, 2), (2,), "RAI"), ((0, 2, 1), (), "RSA")],
)
def test_turned_axes_are_seen_in_any_contrast(
    axes: tuple[int, ...], flips: tuple[int, ...], turned: str
) -> None:
    image, brain = scan()
    inverted = np.where(brain, (1.25 - image).clip(0, 1), 0).astype(np.float32)
    for contrast, picture in (("T1", image), ("T2", inverted)):
        square = Grid("square", (112, 112, 112), 2.0, G96.origin_mm)
        wide = [np.pad(a, [(0, 112 - n) for n in a.shape]) for a in (picture, brain)]
        middle = np.argwhere(wide[1]).mean(0)
        wrong = [np.flip(a.transpose(axes), flips) for a in wide]
        shift = np.rint(middle - np.argwhere(wrong[1]).mean(0)).astype(int)
        wrong = [np.roll(a, shift.tolist(), (0, 1, 2)) for a in wrong]
        found = quality.assess_quality(
            wrong[0].astype(np.float32), wrong[1].astype(np.bool_), square, AFFINE, contrast
        )
        assert f"its axes turned to {turned}" in found["flags"][-1]


def test_a_scan_that_is_elsewhere_or_of_the_wrong_size_is_flagged() -> None:
    image, brain = scan()
    moved = np.roll(image, 12, 1), np.roll(brain, 12, 1)
    assert "is it really in MNI152" in quality.assess_quality(*moved, G96, np.eye(4), "FLAIR")["flags"][0]
    flags = quality.assess_quality(image, brain, G96, np.diag([2.0, 2, 2, 1]), "T1")["flags"]
    assert "brain of 236 ml, expected 900 to 2000" in flags[0]
    assert "changes the volume by 8.00" in flags[1]


def test_a_brain_of_one_value_on_the_grid_has_a_quality_too() -> None:
    _, brain = scan()
    found = quality.assess_quality(brain.astype(np.float32), brain, G96, AFFINE, "T1")
    assert found["correlation"] == 0
    assert found["flags"]


def test_sheets_have_24_scans_a_page_flagged_ones_first_and_equal_bytes(tmp_path: Path) -> None:
    image, brain = scan()
    grid = GRIDS["g48"]
    small, there = image[::2, ::2, ::2], brain[::2, ::2, ::2]
    items = []
    for number in range(26):
        facts = {"quality": {"dice": 0.9, "correlation": 0.5, "flags": ["strange"] if number == 25 else []}}
        subject = Session(id=f"s{number:02d}", cohort="made", subject="p", images={}, healthy=True)
        path = tmp_path / f"{number}.safetensors"
        prepared.write_codes(
            path, prepared.encode(small, there), (there & (small > 0.9)).astype(np.uint8), facts
        )
        items.append(Prepared(subject, "T1", grid, path))
    pages = contact_sheets.draw_sheets(items, tmp_path / "sheet.png")
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png"]
    first = [page.read_bytes() for page in pages]
    assert [page.read_bytes() for page in contact_sheets.draw_sheets(items, tmp_path / "sheet.png")] == first


def test_flagged_scans_are_not_learned_from_and_named(tmp_path: Path) -> None:
    """Scalp in brain masks was training data for every learned row."""
    from uadbench.experiment.cohort import _unflagged

    image, brain = scan()
    items = []
    for name, flags in (("a", []), ("b", ["scalp"]), ("c", [])):
        subject = Session(id=name, cohort="made", subject=name, images={}, healthy=True)
        path = tmp_path / f"{name}.safetensors"
        prepared.write_codes(path, prepared.encode(image, brain), None, {"quality": {"flags": flags}})
        items.append(Prepared(subject, "T1", G96, path))
    kept, left = _unflagged(items)
    assert [item.session.id for item in kept] == ["a", "c"]
    assert [(f.subject_id, f.reason) for f in left] == [("b", "not trained on because it was flagged: scalp")]
    assert _unflagged([items[1]]) == ([items[1]], [])  # nothing else to learn from
    assert _unflagged([]) == ([], [])
