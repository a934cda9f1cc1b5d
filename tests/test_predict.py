"""A trained method on a scan of one's own: the maps overlay the scan, whatever way it was stored."""

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from uadbench.experiment.config import Runtime
from uadbench.experiment.predict import predict_scan
from uadbench.experiment.prediction import Asked
from uadbench.experiment.run import Outcome
from uadbench.preprocessing.nifti import read_header
from uadbench.system.errors import UserError
from uadbench.testing import write_fixture


@pytest.fixture
def trained(finished: Outcome) -> Outcome:
    """`brightness`, fitted and tested on toy balls."""
    return finished


def patient(folder: Path, axes: str) -> Path:
    """A phantom head of the fixture of Cam-CAN, stored with its axes along `axes`."""
    write_fixture("camcan", folder, subjects=1)
    (file,) = folder.rglob("*_T1w.nii.gz")
    image = nibabel.load(file)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes)))
    turned = image.as_reoriented(turn)
    tilt = np.eye(4)  # a tilted head, so that the axes of the file are not those of the world
    tilt[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    stored = nibabel.Nifti1Image(np.asarray(turned.dataobj), tilt @ turned.affine)
    nibabel.save(stored, folder / "odd.nii.gz")
    return folder / "odd.nii.gz"


@pytest.mark.thorough
@pytest.mark.parametrize("axes", ["PSR", "LAS"])
def test_maps_overlay_a_scan_in_an_odd_orientation(
    trained: Outcome, runtime: Runtime, tmp_path: Path, axes: str
) -> None:
    scan = patient(tmp_path / "own", axes)
    found = predict_scan(trained.path, scan, tmp_path / "out", runtime, Asked())
    original = nibabel.load(scan)
    score = nibabel.load(tmp_path / "out" / "score_map.nii.gz")
    mask = nibabel.load(tmp_path / "out" / "mask.nii.gz")
    for made in (score, mask):
        assert made.shape == original.shape
        np.testing.assert_allclose(made.affine, original.affine, atol=1e-5)
    # `brightness` scores how bright a voxel is: in the scan's own voxels the map must follow the scan.
    values, picture = score.get_fdata(), original.get_fdata()
    inside = values > 0
    assert inside.sum() > 0.02 * inside.size
    fit = np.corrcoef(values[inside], picture[inside])[0, 1]
    assert fit > 0.6  # on a model grid of 4 mm
    for axis in range(3):  # the head is nearly symmetric from side to side, so it is moved along each axis
        moved = np.roll(picture, 20, axis)
        assert np.corrcoef(values[inside], moved[inside])[0, 1] < fit - 0.15
    said = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert said["scan_score"] == pytest.approx(found.scan_score)
    assert said["operating_point"] == "fpr1"
    assert said["trained_on"] is None  # the balls gave the threshold; nothing was learned from them
    assert 0 <= said["healthy_percentile"] <= 100
    assert any("phantom" in warning for warning in said["warnings"])
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_said_in_one_sentence(trained: Outcome, runtime: Runtime, tmp_path: Path) -> None:
    text = tmp_path / "scan.nii"
    text.write_text("no scan")
    with pytest.raises(UserError, match="cannot be read as NIfTI or Analyze"):
        predict_scan(trained.path, text, tmp_path / "out", runtime, Asked())
    with pytest.raises(UserError, match="--point expects one of fpr1, .* or a number, got 'oracle'"):
        predict_scan(trained.path, text, tmp_path / "out", runtime, Asked(point="oracle"))
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_a_scan_is_read_as_preparation_reads_it_whatever_its_name_says(
    trained: Outcome, runtime: Runtime, tmp_path: Path
) -> None:
    """A plain NIfTI named .nii.gz was refused here alone, and a damaged one was a traceback."""
    content = gzip.decompress(patient(tmp_path / "own", "RAS").read_bytes())
    plain, cut = tmp_path / "plain.nii.gz", tmp_path / "cut.nii.gz"
    plain.write_bytes(content)
    predict_scan(trained.path, plain, tmp_path / "out", runtime, Asked())
    assert nibabel.load(tmp_path / "out" / "mask.nii.gz").shape == read_header(plain).shape
    packed = gzip.compress(content)
    for damaged in (packed[: len(packed) // 2], packed[:-8] + b"\0" * 8, packed[:30]):
        cut.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cut\.nii\.gz"):
            predict_scan(trained.path, cut, tmp_path / "none", runtime, Asked())
