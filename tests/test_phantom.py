"""The phantom: the same for the same seed, and a brain as a radiologist knows it."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench import datasets, phantom
from uadbench.cards import dataset_card
from uadbench.data import splits
from uadbench.data.space import GRIDS
from uadbench.phantom import cohort, lesions, template
from uadbench.phantom.anatomy import TISSUES, Anatomy, Subject, template_position
from uadbench.phantom.fields import Map, axes_mm, smooth_field
from uadbench.system.progress import Silent

SMALL, _ = phantom.crop_box(GRIDS["g48"])
FULL, _ = phantom.crop_box(GRIDS["g96"])
Patient = tuple[phantom.Lesion, dict[str, Map]]


def means_of_tissues(anatomy: Anatomy, image: Map) -> dict[str, float]:
    """Median intensity of the voxels that are nearly all one tissue."""
    return {
        name: float(np.median(image[(fraction > 0.95) & anatomy.brain]))
        for name, fraction in zip(TISSUES, anatomy.tissues, strict=True)
    }


@pytest.fixture(scope="module")
def patients() -> dict[str, Patient]:
    """One lesion of each kind in one person, with its scans at the quietest site."""
    subject, site = Subject((7, 1), 58.0, "F"), phantom.SITES[0]
    healthy = phantom.make_anatomy(subject, FULL)
    made = {}
    for kind in phantom.KINDS:
        lesion = phantom.make_lesion(subject, kind, healthy)
        contrasts = ("T1", "T2", "FLAIR")
        made[kind] = (
            lesion,
            {c: phantom.make_scan(subject, site, c, lesion.anatomy, lesion.parts) for c in contrasts},
        )
    return made


def inside(patient: Patient, contrast: str) -> tuple[float, dict[str, float]]:
    """Mean intensity of the lesion mask, and of the tissues around."""
    lesion, images = patient
    return float(images[contrast][lesion.mask].mean()), means_of_tissues(lesion.anatomy, images[contrast])


def test_the_template_is_read_without_the_net(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the phantom went to the net")

    monkeypatch.setattr(socket, "socket", refuse)
    t1, gm, wm = map(template._read, ("t1", "gm", "wm"))
    assert t1.shape == gm.shape == wm.shape == template.FINE.shape
    assert 600 < wm.sum() / 1000 < 750  # ml


def test_a_member_is_the_same_every_time_and_unlike_the_next() -> None:
    first, again, other = (phantom.make_scans(phantom.make_member(n, "ms"), GRIDS["g48"]) for n in (5, 5, 6))
    assert first.lesion is not None
    assert again.lesion is not None
    assert first.lesion.tobytes() == again.lesion.tobytes()
    for contrast in phantom.CONTRASTS:
        assert first.images[contrast].tobytes() == again.images[contrast].tobytes()
        assert not np.array_equal(first.images[contrast], other.images[contrast])


def test_a_person_is_the_same_on_every_grid() -> None:
    subject = Subject((7, 2), 40.0, "M")
    coarse, fine = (template_position(subject, GRIDS[name]) for name in ("g48", "g96"))
    # The grids share their first voxel, and one spacing is twice the other.
    assert np.abs(fine[:, ::2, ::2, ::2] - coarse).max() < 1e-3


def test_no_deformation_folds_the_brain() -> None:
    for number in range(4):
        subject = Subject((7, number), 20.0 + 20 * number, "F")
        position = template_position(subject, SMALL)
        jacobian = np.stack([np.stack(np.gradient(p, SMALL.spacing_mm)) for p in position])
        determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
        brain = phantom.make_anatomy(subject, SMALL).brain
        assert (determinant[brain] > 0).mean() > 0.999


def test_a_smooth_field_has_unit_variance() -> None:
    field = smooth_field(np.random.default_rng(3), SMALL, 8.0)
    assert abs(field.std() - 1) < 0.1
    assert abs(field.mean()) < 0.1


@pytest.mark.parametrize("site", phantom.SITES, ids=lambda site: site.name)
def test_tissues_have_the_order_of_each_contrast(site: phantom.Site) -> None:
    subject = Subject((7, 3), 45.0, "F")
    anatomy = phantom.make_anatomy(subject, SMALL)
    t1, t2, flair, pd = (
        means_of_tissues(anatomy, phantom.make_scan(subject, site, c, anatomy)) for c in phantom.CONTRASTS
    )
    assert t1["WM"] > t1["deep GM"] > t1["GM"] > t1["CSF"]
    assert t2["CSF"] > t2["GM"] > t2["WM"]
    assert flair["GM"] > flair["WM"] > flair["CSF"]
    assert pd["GM"] > pd["CSF"] > pd["WM"]


def test_sites_differ_in_contrast() -> None:
    subject = Subject((7, 3), 45.0, "F")
    anatomy = phantom.make_anatomy(subject, SMALL)
    ratio = {}
    for site in phantom.SITES:
        means = means_of_tissues(anatomy, phantom.make_scan(subject, site, "T1", anatomy))
        ratio[site.name] = means["GM"] / means["WM"]
    assert ratio["harbour"] > ratio["north"] + 0.03 > ratio["university"] + 0.06


def test_age_widens_ventricles_and_sulci_and_thins_the_cortex() -> None:
    young, old = (phantom.make_anatomy(Subject((7, 4), age, "F"), SMALL) for age in (25.0, 82.0))
    assert (old.ventricle_mm < 0).sum() > 1.3 * (young.ventricle_mm < 0).sum()
    fluid, cortex = TISSUES.index("CSF"), TISSUES.index("GM")
    assert old.tissues[fluid][old.brain].mean() > 1.2 * young.tissues[fluid][young.brain].mean()
    assert old.tissues[cortex][old.brain].mean() < young.tissues[cortex][young.brain].mean()


def test_fractions_are_fractions(patients: dict[str, Patient]) -> None:
    for lesion, _ in patients.values():
        assert np.allclose(lesion.anatomy.tissues.sum(0), 1, atol=1e-4)
        total = sum(lesion.parts.values(), start=np.zeros(FULL.shape, np.float32))
        assert total.min() >= -1e-5
        assert total.max() <= 1 + 1e-5
        assert lesion.mask.any()
        assert not (lesion.mask & ~lesion.anatomy.brain).any()


def test_a_glioma_is_dark_on_t1_and_bright_on_t2_and_flair(patients: dict[str, Patient]) -> None:
    t1, around = inside(patients["glioma"], "T1")
    assert around["CSF"] < t1 < around["WM"] * 0.85
    t2, around = inside(patients["glioma"], "T2")
    assert around["GM"] < t2 < around["CSF"]
    flair, around = inside(patients["glioma"], "FLAIR")
    assert flair > around["GM"]


@pytest.mark.parametrize("kind", ["ms", "wmh"])
def test_plaques_and_hyperintensities_shine_on_flair_and_hide_on_t1(
    patients: dict[str, Patient], kind: str
) -> None:
    flair, around = inside(patients[kind], "FLAIR")
    assert flair > around["GM"] * 1.05
    t2, around = inside(patients[kind], "T2")
    assert around["WM"] < t2 < around["CSF"]
    t1, around = inside(patients[kind], "T1")
    assert around["GM"] * 0.95 < t1 < around["WM"]


def test_hyperintensities_lie_on_both_sides(patients: dict[str, Patient]) -> None:
    mask = patients["wmh"][0].mask
    middle = mask.shape[0] // 2
    assert 0.25 < mask[:middle].sum() / mask.sum() < 0.75


def test_an_old_stroke_is_fluid_with_a_bright_rim_on_flair(patients: dict[str, Patient]) -> None:
    lesion, images = patients["stroke"]
    cavity, rim = lesion.parts["cavity"] > 0.85, lesion.parts["gliosis"] > 0.85
    t1, flair = (means_of_tissues(lesion.anatomy, images[c]) for c in ("T1", "FLAIR"))
    assert images["T1"][cavity].mean() < 0.5 * (t1["CSF"] + t1["GM"])
    assert images["FLAIR"][cavity].mean() < flair["WM"]
    assert images["FLAIR"][rim].mean() > flair["GM"]


def test_a_mimic_has_the_mean_of_another_tissue_in_every_contrast() -> None:
    # No receive field, and no blur that would mix small islands with what surrounds them.
    site = replace(phantom.SITES[0], bias=0.0, blur_mm=(0.0, 0.0, 0.0))
    for number in range(3):
        subject = Subject((8, number), 40.0, "M")
        lesion = phantom.make_lesion(subject, "mimic", phantom.make_anatomy(subject, FULL))
        (guest, island), *others = lesion.parts.items()
        assert not others
        for contrast in phantom.CONTRASTS:
            scan = phantom.make_scan(subject, site, contrast, lesion.anatomy, lesion.parts)
            means = means_of_tissues(lesion.anatomy, scan)
            span = max(means.values()) - min(means.values())
            assert abs(np.median(scan[island > 0.97]) - means[guest]) < 0.1 * span


def test_mass_effect_keeps_volumes_and_the_surface(patients: dict[str, Patient]) -> None:
    anatomy = patients["mimic"][0].anatomy
    point, radius, share = np.array([22.0, -10.0, 24.0]), 15.0, 0.5
    moved = lesions.mass_effect(anatomy, point, radius, share)
    steps = np.stack(np.broadcast_arrays(*lesions.offsets(anatomy.grid, point)))
    distance = np.sqrt((steps**2).sum(0))
    before = np.sqrt(((steps + moved) ** 2).sum(0))
    free = (anatomy.depth_mm > 15) & (distance > radius)
    assert np.allclose(before[free] ** 3, distance[free] ** 3 - share * radius**3, rtol=1e-3)
    assert not moved[:, anatomy.depth_mm <= 0].any()


def test_a_glioma_moves_the_tissue_around_it(patients: dict[str, Patient]) -> None:
    ill, well = patients["glioma"][0], patients["ms"][0].anatomy
    outside = ~ill.mask & ill.anatomy.brain
    changed = np.abs(ill.anatomy.tissues - well.tissues).max(0) > 0.2
    near = outside & _around(ill.mask)
    assert changed[near].mean() > 0.02
    assert changed[near].mean() > 5 * changed[outside & ~near].mean()


def _around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The box around a mask, with 12 mm on every side."""
    grown = np.ones(mask.shape, bool)
    for axis, line in enumerate(axes_mm(FULL)):
        there = mask.any(tuple(a for a in range(3) if a != axis))
        values = line.ravel()[there]
        grown &= (line > values.min() - 12) & (line < values.max() + 12)
    return grown


def test_the_default_cohort_is_what_the_card_says() -> None:
    everyone, card = phantom.make_members(), dataset_card("phantom")
    assert set(card.contrasts) == set(phantom.CONTRASTS)
    assert set(card.expected.values()) == {len(everyone)}
    assert len({m.id for m in everyone}) == len(everyone)
    parts: dict[str, list[str | None]] = {"train": [], "val": [], "test": []}
    for member in everyone:
        fractions = card.lesion_split if member.kind else card.healthy_split
        place = splits.hash_position("phantom", member.id)
        train, val = fractions.get("train", 0.0), fractions["val"]
        parts["train" if place < train else "val" if place < train + val else "test"].append(member.kind)
    assert {name: members.count(None) for name, members in parts.items()} == {
        "train": 30,
        "val": 8,
        "test": 10,
    }
    assert set(parts["test"]) == set(parts["val"]) == {None, *phantom.KINDS}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, written by worker processes."""
    root = tmp_path_factory.mktemp("phantom")
    module = datasets.load("phantom")
    module.generate(root, Silent(), healthy=2, lesions_per_kind=0)
    module.generate(root, Silent(), healthy=1, lesions_per_kind=0)  # the table of fewer: one is left over
    return root


def test_files_come_back_through_the_adapter(written: Path) -> None:
    found = datasets.find_sessions("phantom", written)
    assert [(item.id, item.reason) for item in found.left_out] == [
        ("sub-0102", "not named in participants.tsv")
    ]
    (session,) = found.sessions
    member = phantom.make_members(1, 0)[0]
    assert (session.age, session.sex, session.site) == (
        member.subject.age,
        member.subject.sex,
        member.site.name,
    )
    assert session.healthy
    assert session.space == "MNI152"
    # Made here and by a worker process, the scan has the same voxels.
    scans = phantom.make_scans(member)
    for contrast, path in session.images.items():
        image: Any = nibabel.load(path)
        assert np.array_equal(image.affine, GRIDS["g96"].affine)
        assert np.array_equal(np.asanyarray(image.dataobj), np.rint(scans.images[contrast]))
    assert session.brain_mask is not None
    mask: Any = nibabel.load(session.brain_mask)
    assert np.array_equal(mask.get_fdata() > 0, scans.brain)


def test_the_environment_can_ask_for_another_number_of_healthy_members(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(written, root)
    monkeypatch.setenv(phantom.HEALTHY_VARIABLE, "2")
    datasets.load("phantom").generate(root, Silent(), lesions_per_kind=0)
    assert [s.id for s in datasets.find_sessions("phantom", root).sessions] == ["sub-0101", "sub-0102"]


def test_another_seed_draws_other_people_of_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever a method was chosen by tests it no more: nobody of both cohorts is the same or is named so."""
    monkeypatch.setenv(phantom.SEED_VARIABLE, "2033")
    datasets.load("phantom").generate(tmp_path, Silent(), healthy=1, lesions_per_kind=0)
    (session,) = datasets.find_sessions("phantom", tmp_path).sessions
    assert session.id == "sub-2033x0101"
    fresh, usual = (phantom.make_members(1, 0, seed)[0] for seed in (2033, phantom.SEED))
    assert (session.age, session.site) == (fresh.subject.age, fresh.site.name)
    assert (usual.id, usual.subject.age) == ("sub-0101", 28.5) != (fresh.id, fresh.subject.age)


def test_an_interrupted_generation_goes_on(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(written, root)
    files = sorted(root.glob("sub-*/anat/*"))
    before = {path: path.read_bytes() for path in files}
    kept = root / "sub-0101" / "anat" / "sub-0101_T1w.nii.gz"
    kept.write_bytes(b"of an earlier run")  # complete subjects are not made again
    (root / "sub-0102" / "anat" / "sub-0102_PDw.nii.gz").unlink()
    datasets.load("phantom").generate(root, Silent(), healthy=2, lesions_per_kind=0)
    assert kept.read_bytes() == b"of an earlier run"
    assert all(path.read_bytes() == content for path, content in before.items() if path != kept)


def test_files_of_another_version_are_made_anew(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(written, root)
    scan = root / "sub-0101" / "anat" / "sub-0101_T1w.nii.gz"
    scan.write_bytes(b"of an earlier version")
    monkeypatch.setattr(cohort, "VERSION", cohort.VERSION + 1)
    datasets.load("phantom").generate(root, Silent(), healthy=1, lesions_per_kind=0)
    assert scan.read_bytes() == (written / "sub-0101" / "anat" / "sub-0101_T1w.nii.gz").read_bytes()


def test_a_row_without_its_files_is_left_out(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(written, root)
    (root / "sub-0101" / "anat" / "sub-0101_desc-brain_mask.nii.gz").unlink()
    shutil.rmtree(root / "sub-0102")
    reasons = [item.reason for item in datasets.load("phantom").sessions(root)]
    assert reasons == ["lacks sub-0101_desc-brain_mask.nii.gz"]
    shutil.rmtree(root / "sub-0101")
    reasons = [item.reason for item in datasets.load("phantom").sessions(root)]
    assert reasons == ["named in participants.tsv, but has no image"]
