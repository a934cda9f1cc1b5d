"""Lesions that are put into healthy scans: size, place, contrast-to-noise, and what is refused."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

import uadbench
from uadbench import phantom
from uadbench.cards import dataset_card
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.cli import app
from uadbench.data import implanted
from uadbench.data.session import Implanted, Session
from uadbench.data.space import GRIDS
from uadbench.data.splits import find_partition, hash_position
from uadbench.datasets import Found
from uadbench.experiment.config import Runtime, find_dataset
from uadbench.experiment.facts import ImplantedResult
from uadbench.experiment.own import name_dataset
from uadbench.experiment.record import Stored
from uadbench.implant.host import name_folder
from uadbench.implant.inject import Injection, choose_scans, inject
from uadbench.implant.lesion import Host, Implant, Region, _add, soften
from uadbench.implant.order import Order
from uadbench.implant.shapes import KINDS, grow, read_shapes
from uadbench.phantom.cohort import write_volume
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.scan import Scan
from uadbench.report.leaderboard import tables
from uadbench.report.views import sheets_by
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

GRID = GRIDS["g48"]
CARD = """\
title = "Heads"
role = "healthy"
population = "volunteers"
summary = "Phantom heads that pass for volunteers."
address = "none"
access = "made"
licence = "CC0"
forbids = ""
citation = "none"
layout = "sub-0101_T1w.nii.gz with sub-0101_brain.nii.gz"
layout_confidence = "V"
contrasts = ["T1"]
space = "MNI152"
skull_stripped = true
protocol = "uad-1-4mm"
"""
ADAPTER = """\
from uadbench.data.session import Session

def sessions(root):
    for path in sorted(root.glob("*_T1w.nii.gz")):
        name = path.name.partition("_")[0]
        yield Session(id=name, cohort="heads", subject=name, images={"T1": path}, healthy=True, sex="F",
                      age=40.0, brain_mask=root / f"{name}_brain.nii.gz", space="MNI152", skull_stripped=True)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantom heads as a data set of healthy volunteers, whose split puts both into test."""
    here = tmp_path_factory.mktemp("heads")
    home, root = here / "plugins" / "datasets" / "heads", here / "data" / "heads"
    for folder in (home, root):
        folder.mkdir(parents=True)
    (home / "card.toml").write_text(CARD)
    (home / "dataset.py").write_text(ADAPTER)
    for member in phantom.make_members(2, 0):
        scans = phantom.make_scans(member, GRID)
        write_volume(root / f"{member.id}_T1w.nii.gz", np.rint(scans.images["T1"]).astype(np.int16), GRID)
        write_volume(root / f"{member.id}_brain.nii.gz", scans.brain.astype(np.uint8), GRID)
    return here


@pytest.fixture
def heads(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runtime:
    monkeypatch.setenv(PLUGINS_VARIABLE, str(world / "plugins"))
    monkeypatch.setenv("UADBENCH_DATA", str(world / "data"))
    monkeypatch.setenv("UADBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UADBENCH_RESULTS", str(tmp_path / "results"))
    return Runtime(Paths.default(), Silent(), "cpu", workers=1)


MS = Order(kind="ms", sizes=(1.0, 8.0), contrasts=(-2.0, 3.0), seed=5, edge_mm=6.0)


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Injection:
    """Both heads with plaques of two sizes and contrasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS_VARIABLE, str(world / "plugins"))
        patch.setenv("UADBENCH_DATA", str(world / "data"))
        patch.setenv("UADBENCH_RUNS", str(tmp_path_factory.mktemp("runs")))
        folder = tmp_path_factory.mktemp("out") / "ms"
        return inject("heads", folder, MS, Runtime(Paths.default(), Silent(), "cpu", workers=1))


def read(path: Path) -> NDArray[Any]:
    return np.asarray(nibabel.load(path).dataobj)


def files(made: Injection, image: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Image, lesion mask and brain mask of an implanted scan."""
    stem = image.removeprefix("lesion/").removesuffix(".nii.gz")
    masks = read(made.folder / f"masks/{stem}_mask.nii.gz"), read(made.folder / f"brains/{stem}_brain.nii.gz")
    return read(made.folder / image), masks[0] > 0, masks[1] > 0


# ---- worked by hand --------------------------------------------------------------------------------


def test_a_region_grows_by_the_lowest_field_first_and_only_where_it_may() -> None:
    field = np.array([[[5, 1, 2, 9, 0]]], np.float32)
    free = np.array([[[True, True, True, True, False]]])

    def grown(count: int) -> list[bool]:
        mask = grow(field, free, (0, 0, 1), count)
        assert mask is not None
        return [bool(one) for one in mask.ravel()]

    assert grown(3) == [True, True, True, False, False]
    assert grown(2) == [False, True, True, False, False]
    assert grow(field, free, (0, 0, 1), 5) is None
    assert grow(field, free, (0, 0, 4), 1) is None


def test_the_edge_is_centred_on_the_border_of_the_mask() -> None:
    mask = np.zeros((15, 1, 1), bool)
    mask[4:11] = True  # along one axis: the others have no neighbour outside to be near to
    share, width = soften(np.broadcast_to(mask, (15, 15, 15)).copy(), np.ones(3), 4.0)

    # Centres lie 0.5, 1.5, 2.5 mm from the border: 0.5 +- 0.5/4, 0.5 +- 1.5/4, and all or nothing.
    assert width == 4
    assert share[:8, 7, 7].tolist() == [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]


def test_a_lesion_thinner_than_the_edge_has_one_voxel_of_full_strength() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    share, width = soften(mask, np.full(3, 2.0), 6.0)

    assert width == 2  # twice the 1 mm from the centre of a voxel to its face
    assert share.sum() == share[4, 4, 4] == 1


def flat_host(values: NDArray[Any], sign: int = 1) -> tuple[Host, Region]:
    """Two voxels of core, four around them, and one that is neither."""
    core, around = np.zeros((7, 1, 1), bool), np.zeros((7, 1, 1), bool)
    core[:2], around[2:6] = True, True
    tissue: Any = None
    host = Host("flat", Scan(values.reshape(7, 1, 1), np.eye(4)), core | around, tissue, np.eye(4), sign)
    return host, Region(core, core.astype(np.float32), 1.0, core, around, "drawn")


# Mean 12 and, with n - 1 below the sum of squares, deviation 2; and the scan's darkest voxel.
AROUND = [12 - np.sqrt(3), 12 + np.sqrt(3), 12 - np.sqrt(3), 12 + np.sqrt(3), 0]


def test_the_offset_gives_the_contrast_that_is_asked() -> None:
    host, region = flat_host(np.array([10.6, 12.6, *AROUND]))
    (one,) = [_asked(host, region, -4.0)]

    # 12 - 4 * 2 = 4 in the core, whose mean is 11.6.
    assert region.contrast(host.image.array) == pytest.approx(-0.2)
    assert one.offsets == (pytest.approx(-7.6),)
    assert one.noises == (pytest.approx(2),)
    assert one.values[:2].ravel().tolist() == pytest.approx([3, 5])
    assert one.measured == (pytest.approx(-4),)


def test_a_negative_slope_stores_brighter_as_less() -> None:
    host, region = flat_host(np.array([11.4, 13.4, *AROUND]), sign=-1)

    assert _asked(host, region, 4.0).values[:2].ravel().tolist() == pytest.approx([3, 5])


def test_what_the_file_cannot_hold_is_no_lesion() -> None:
    host, region = flat_host(np.array([10.6, 12.6, *AROUND]))

    assert "the lesion needs" in _refused(host, region, -8.0)  # darker than anything in the scan
    whole, region = flat_host(np.array([114, 116, 100, 130, 100, 130, 9], np.uint8))
    assert "can hold values from 9 to 255" in _refused(whole, region, 12.0)
    assert "differs from what is around it by -0.2" in _refused(host, region, 1.0)


def _asked(host: Host, region: Region, contrast: float) -> Any:
    found = _add(host, Implant(contrast, host.image.array, (), (), (), ()), region, [0])
    assert isinstance(found, Implant), found
    return found


def _refused(host: Host, region: Region, contrast: float) -> str:
    found = _add(host, Implant(contrast, host.image.array, (), (), (), ()), region, [0])
    assert isinstance(found, str)
    return found


# ---- whole scans -----------------------------------------------------------------------------------


def test_every_size_and_contrast_has_the_same_subjects(made: Injection) -> None:
    cells: dict[tuple[float, float | None], list[str]] = {}
    for lesion in made.lesions:
        cells.setdefault((lesion.asked_ml, lesion.asked_contrast), []).append(lesion.subject)

    assert made.scans == 8
    assert set(cells) == {(1, -2), (1, 3), (8, -2), (8, 3)}
    assert all(subjects == ["sub-0101", "sub-0102"] for subjects in cells.values())


def test_size_and_contrast_are_what_was_asked(made: Injection) -> None:
    for lesion in made.lesions:
        assert lesion.ml == pytest.approx(lesion.asked_ml, abs=GRID.voxel_ml / 2)
        assert lesion.contrast == pytest.approx(lesion.asked_contrast, rel=0.1)
        assert lesion.offset / lesion.noise == pytest.approx(lesion.asked_contrast, rel=0.1)


def test_nothing_changes_but_mask_and_edge_within_the_brain(made: Injection, world: Path) -> None:
    for lesion in made.lesions:
        image, mask, brain = files(made, lesion.image)
        source = nibabel.load(world / "data" / "heads" / f"{lesion.source}_T1w.nii.gz")
        changed = image != np.asarray(source.dataobj)
        away = ndimage.distance_transform_edt(~mask, sampling=4.0)

        assert image.dtype == source.get_data_dtype()
        assert np.array_equal(nibabel.load(made.folder / lesion.image).affine, source.affine)
        assert (away[changed] <= MS.edge_mm / 2 + 2).all()
        assert changed[mask].mean() > 0.95
        assert not (changed & ~brain).any()
        assert int(mask.sum()) == round(lesion.ml / GRID.voxel_ml)
        assert ndimage.label(mask)[1] == 1


def test_noise_and_texture_stay(made: Injection, world: Path) -> None:
    lesion = next(one for one in made.lesions if one.asked_ml == 8)
    image, mask, _ = files(made, lesion.image)
    source = read(world / "data" / "heads" / f"{lesion.source}_T1w.nii.gz")
    core = ndimage.binary_erosion(mask)

    assert core.sum() > 5
    # A constant was added, to the rounding of whole numbers.
    assert np.abs((image.astype(float) - source)[core] - lesion.offset).max() <= 1


def test_contrasts_of_one_size_share_their_place(made: Injection) -> None:
    for subject in ("sub-0101", "sub-0102"):
        for ml in (1, 8):
            own = [one for one in made.lesions if one.subject == subject and one.asked_ml == ml]
            first, second = (files(made, one.image)[1] for one in own)
            assert np.array_equal(first, second)


def test_the_same_seed_gives_the_same_files(made: Injection, heads: Runtime, tmp_path: Path) -> None:
    again = inject("heads", tmp_path / "again", MS, heads)
    other = inject("heads", tmp_path / "other", Order(**{**vars(MS), "seed": 6}), heads)

    assert again.lesions == made.lesions
    for lesion in made.lesions:
        assert (again.folder / lesion.image).read_bytes() == (made.folder / lesion.image).read_bytes()
    assert other.lesions != made.lesions


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ms"}))
def test_every_kind_finds_its_place(kind: str, heads: Runtime, tmp_path: Path) -> None:
    contrasts = () if kind == "mimic" else (-2.0,)
    order = Order(kind=kind, sizes=(3.0,), contrasts=contrasts, limit=1, per_scan=2)
    found = inject("heads", tmp_path / kind, order, heads)

    assert found.scans == 1
    assert len(found.lesions) == 2
    assert {one.kind for one in found.lesions} == {kind}
    _, mask, brain = files(found, found.lesions[0].image)
    assert (mask & ~brain).sum() == 0
    assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 2  # apart from each other
    assert mask.sum() == round(6 / GRID.voxel_ml) or mask.sum() == 2 * round(3 / GRID.voxel_ml)


def test_a_mimic_is_as_bright_as_grey_matter(heads: Runtime, tmp_path: Path) -> None:
    found = inject("heads", tmp_path / "out", Order(kind="mimic", sizes=(3.0,)), heads)

    assert all(one.asked_contrast is None for one in found.lesions)
    assert all(-12 < one.contrast < -1 for one in found.lesions)  # grey matter is darker on T1
    lines = (tmp_path / "out" / "implanted.csv").read_text().splitlines()
    assert {row["asked_contrast"] for row in csv.DictReader(lines)} == {""}


def test_the_shape_of_a_real_mask_is_used(heads: Runtime, tmp_path: Path) -> None:
    disc = np.zeros((40, 40, 40), np.uint8)
    disc[10:30, 10:30, 18:22] = 1
    disc[0, 0, 0] = 1  # a second component, which is not used
    (tmp_path / "shapes").mkdir()
    nibabel.save(nibabel.Nifti1Image(disc, np.eye(4)), tmp_path / "shapes" / "disc.nii.gz")
    (shape,) = read_shapes(tmp_path / "shapes")
    field = shape.field(1.6 * 8)  # twice as long on every side: 40 x 40 x 8 mm

    line = np.arange(-60, 61, dtype=np.float32)
    zero = np.zeros_like(line)
    assert shape.ml == pytest.approx(1.6)
    assert 38 <= (field(np.stack([line, zero, zero])) < 0).sum() <= 42
    assert 6 <= (field(np.stack([zero, zero, line])) < 0).sum() <= 10
    order = Order(kind="glioma", sizes=(6.4,), contrasts=(-3.0,), shapes=tmp_path / "shapes", limit=1)
    found = inject("heads", tmp_path / "out", order, heads)
    assert found.lesions[0].shape == "disc.nii.gz"


# ---- what stands beside the scans ------------------------------------------------------------------


def test_a_subject_has_folders_of_its_own_whatever_its_name() -> None:
    def named(subject: str) -> str:
        return name_folder(Session(id="a", cohort="heads", subject=subject, images={}, healthy=True))

    assert named("sub-0101") == "sub-0101"
    assert len({named(name) for name in ("a b", "a/b", "a_b")}) == 3
    assert named("..") not in (".", "..")
    assert "/" not in named("../b")


def test_the_table_is_read_back(made: Injection) -> None:
    table = implanted.read_table(made.folder)

    assert len(table) == 8
    assert {(one.ml, one.contrast) for one in table.values()} == {(1, -2), (1, 3), (8, -2), (8, 3)}
    assert implanted.read_table(made.folder / "lesion") == {}


def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "implanted.csv").write_text("image,asked_ml,asked_contrast\na,1,2\na,2,2\n")
    with pytest.raises(UserError, match="does not say one size above 0"):
        implanted.read_table(tmp_path)
    (tmp_path / "implanted.csv").write_text("image,asked_ml,asked_contrast\na,1,\n")
    assert implanted.read_table(tmp_path) == {"a": Implanted(1.0, None)}
    for wrong in ("1 2 3", "1 0 0 0 0 1 0 0 0 0 1 x", " ".join(24 * "1")):
        (tmp_path / "implanted.csv").write_text(f"image,asked_ml,asked_contrast,transform\na,1,,{wrong}\n")
        with pytest.raises(UserError, match="one matrix of 12 numbers"):
            implanted.read_table(tmp_path)


def test_an_implanted_scan_is_placed_as_its_host_and_not_registered(
    made: Injection, heads: Runtime, tmp_path: Path
) -> None:
    """A lesion turned the axes of one scan of 192 when each was registered for itself."""
    found = find_dataset(name_dataset(str(made.folder), heads), heads)
    first = found.sessions[0]
    assert first.implanted is not None
    assert first.implanted.transform == (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)  # the hosts are in MNI152
    moved = (1.0, 0.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    elsewhere = replace(first, space="native", implanted=replace(first.implanted, transform=moved))
    whole, shifted = (
        prepare([one], "T1", GRID, found.card, tmp_path / "cache", 1, Silent()).prepared[0]
        for one in (first, elsewhere)
    )
    assert shifted.facts["registration"] is None
    assert np.reshape(shifted.facts["transform"], (4, 4))[0, 3] == 4
    assert np.array_equal(shifted.brain()[1:], whole.brain()[:-1])  # 4 mm are one voxel of this grid


def test_the_folder_is_a_data_set_with_all_that_was_asked(made: Injection, heads: Runtime) -> None:
    found = find_dataset(name_dataset(str(made.folder), heads), heads)

    assert found.card.population == "implanted"
    assert found.card.partners == {"T1": ("heads",)}
    assert not found.left_out
    asked = {(lesion.subject, lesion.asked_ml, lesion.asked_contrast) for lesion in made.lesions}
    there = {(s.subject, s.implanted.ml, s.implanted.contrast) for s in found.sessions if s.implanted}
    assert there == asked
    for session in found.sessions:
        assert (session.lesion_kind, session.age, session.sex) == ("ms", 40, "F")
        assert session.mask_of("T1") is not None
    assert {find_partition(s, found.card) for s in found.sessions} == {"lesion-test"}


def test_a_run_on_the_folder_says_what_was_asked_of_every_scan(made: Injection, heads: Runtime) -> None:
    outcome = uadbench.run("intensity", made.folder, train="none", preset="ci", runtime=heads)
    (table,) = tables([Stored(outcome.record, outcome.path)], resamples=200)
    by_cell, limits = sheets_by("response", [table], 200)

    assert outcome.record.regime == table.regime == "implanted"
    assert {s.implanted for s in outcome.record.subjects} == {
        ImplantedResult(ml=ml, contrast=contrast) for ml in MS.sizes for contrast in MS.contrasts
    }
    assert [line[4:8] for line in by_cell.lines] == [
        (contrast, ml, "2", "2") for contrast in ("-2", "+3") for ml in ("1", "8")
    ]
    assert [line[8:10] for line in by_cell.lines] == [("", "")] * 4  # nobody healthy, and so no threshold
    assert all(0 <= float(line[10].rstrip("*")) <= 1 for line in by_cell.lines)
    assert "nothing about how real lesions look" in by_cell.cautions[0]
    assert {line[6:] for line in limits.lines} == {("", "", "", "")}


def test_the_card_says_whose_scans_they_are(made: Injection) -> None:
    said = (made.folder / "card.toml").read_text()

    assert 'population = "implanted"' in said
    assert 'licence = "CC0"' in said
    assert 'T1 = ["heads"]' in said


# ---- what is refused -------------------------------------------------------------------------------

WRONG = {
    "kind": ({"kind": "tumor"}, "There is no kind 'tumor'"),
    "no sizes": ({"sizes": ()}, "--sizes expects ml above 0"),
    "size 0": ({"sizes": (0.0,)}, "--sizes expects ml above 0 and at most 300, got 0"),
    "negative size": ({"sizes": (1.0, -1.0)}, "got -1"),
    "size nan": ({"sizes": (float("nan"),)}, "got nan"),
    "size of a head": ({"sizes": (2000.0,)}, "at most 300, got 2000"),
    "size of a voxel": ({"sizes": (0.07,)}, "voxels of 0.064 ml cannot make up a lesion of 0.07 ml"),
    "size between": ({"sizes": (0.22,)}, "voxels of 0.064 ml cannot make up a lesion of 0.22 ml"),
    "size twice": ({"sizes": (1.0, 1.0)}, "--sizes names 1 twice"),
    "no contrasts": ({"contrasts": ()}, "--contrasts expects numbers other than 0"),
    "contrast 0": ({"contrasts": (0.0,)}, "--contrasts expects numbers other than 0, .* got 0"),
    "contrast inf": ({"contrasts": (float("inf"),)}, "got inf"),
    "mimic with contrast": ({"kind": "mimic"}, "leave --contrasts out"),
    "seed": ({"seed": -1}, "--seed expects a whole number from 0"),
    "per scan": ({"per_scan": 0}, "--per-scan expects a whole number from 1"),
    "limit": ({"limit": 0}, "--limit expects a whole number from 1"),
    "edge": ({"edge_mm": 0.0}, "--edge expects a width above 0"),
    "contrast of the scans": ({"mr": "T2"}, "T2"),
    "shapes": ({"shapes": Path("absent")}, "there is none at absent"),
    "room": (
        {"sizes": (200.0,), "per_scan": 3},
        "No lesion could be put into the 2 healthy-test scans of heads; sub-0101",
    ),
    "range": ({"contrasts": (-90.0,)}, "the file can hold values from"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    change: dict[str, Any], words: str, heads: Runtime, tmp_path: Path
) -> None:
    asked = {"kind": "ms", "sizes": (1.0,), "contrasts": (-2.0,)} | change
    with pytest.raises(UserError, match=words):
        inject("heads", tmp_path / "new" / "out", Order(**asked), heads)
    assert not (tmp_path / "new" / "out").exists()
    assert not list(tmp_path.glob("new/*"))


def test_an_unknown_data_set_and_a_full_folder_are_refused(heads: Runtime, tmp_path: Path) -> None:
    order = Order(kind="ms", sizes=(1.0,), contrasts=(-2.0,))
    with pytest.raises(UserError, match="There is no data set 'head'"):
        inject("head", tmp_path / "out", order, heads)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(UserError, match="--out expects a new or empty folder"):
            inject("heads", place, order, heads)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def save(folder: Path, name: str, array: NDArray[Any]) -> None:
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 5, 5), np.uint8), r"no lesion mask: it has the values \[0\]"),
        (np.ones((5, 5, 5), np.uint8), r"no lesion mask: it has the values \[1\]"),
        (np.arange(125, dtype=np.uint8).reshape(5, 5, 5), "no lesion mask"),
        (np.linspace(0, 1, 125, dtype=np.float32).reshape(5, 5, 5), "no integers"),
        (np.full((5, 5, 5), np.nan, np.float32), "no integers"),
        (np.ones((5, 5, 5, 2), np.uint8), "expected three axes"),
    ],
    ids=["empty", "all", "labels", "probabilities", "nan", "4-D"],
)
def test_a_shape_that_is_no_mask_is_named(array: NDArray[Any], words: str, tmp_path: Path) -> None:
    save(tmp_path / "shapes", "good.nii.gz", np.eye(5, dtype=np.uint8)[..., None] * np.ones(3, np.uint8))
    save(tmp_path / "shapes", "odd.nii.gz", array)
    with pytest.raises(UserError, match=f"odd.nii.gz.*{words}"):
        read_shapes(tmp_path / "shapes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is empty of NIfTI files"):
        read_shapes(tmp_path / "empty")


def test_a_scan_that_cannot_be_used_leaves_the_others(
    world: Path, heads: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data" / "heads", data / "heads")
    brain = data / "heads" / "sub-0101_brain.nii.gz"
    write_volume(brain, np.zeros(GRID.shape, np.uint8), GRID)
    monkeypatch.setenv("UADBENCH_DATA", str(data))
    runtime = Runtime(Paths.default(), Silent(), "cpu", workers=1)
    found = inject("heads", tmp_path / "out", Order(kind="ms", sizes=(1.0,), contrasts=(-2.0,)), runtime)

    assert [one.subject for one in found.lesions] == ["sub-0102"]
    ((name, reason),) = [(one.id, one.reason) for one in found.left_out]
    assert name == "sub-0101"
    assert "covers 0 ml" in reason
    assert "sub-0101" not in (tmp_path / "out" / "participants.csv").read_text()


def test_sets_without_a_healthy_volume_to_test_on_are_refused() -> None:
    order = Order(kind="ms", sizes=(1.0,), contrasts=(-2.0,))
    with pytest.raises(UserError, match="slices without geometry"):
        choose_scans(Found(dataset_card("lgg"), Path(), (), ()), order)
    scan = Session(id="a", cohort="mslub", subject="a", images={"T1": Path("a.nii")}, healthy=False)
    with pytest.raises(UserError, match="no healthy-test scan with T1: nobody is healthy"):
        choose_scans(Found(dataset_card("mslub"), Path(), (scan,), ()), replace(order, mr="T1"))
    learned = [name for name in map(str, range(99)) if hash_position("ixi", name) < 0.7][:2]
    scans = [replace(scan, id=n, cohort="ixi", subject=n, healthy=True) for n in learned]
    with pytest.raises(UserError, match="puts none of its 2 healthy scans there"):
        choose_scans(Found(dataset_card("ixi"), Path(), tuple(scans), ()), order)


def test_the_command_says_what_came_out(heads: Runtime, tmp_path: Path) -> None:
    asked = ["inject", "heads", "--out", str(tmp_path / "out"), "--kind", "ms", "--limit", "1", "--quiet"]
    done = CliRunner().invoke(app, [*asked, "--sizes", "2", "--contrasts", "-2, 3"])

    assert done.exit_code == 0, done.output
    assert "2 scans under" in done.output
    wrong = CliRunner().invoke(app, [*asked, "--sizes", "small", "--contrasts", "1"])
    assert isinstance(wrong.exception, UserError)
    assert str(wrong.exception) == "--sizes expects numbers separated by commas, got 'small'."
    assert uadbench.inject is not None
