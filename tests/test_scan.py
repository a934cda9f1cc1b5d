"""Reading: everything in single files that surprises a reader, see `uadbench.testing.corruptions`."""

import gzip
import os
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from uadbench.preprocessing import scan
from uadbench.system.errors import SubjectError

COUNTING = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)  # every voxel has a value of its own
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, -30], [0, 0, 0, 1]])


def save(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def stored_as(codes: str, array: NDArray[np.generic]) -> nibabel.Nifti1Image:
    """The RAS array as a file would hold it whose axes run towards `codes`."""
    image = nibabel.Nifti1Image(array, AFFINE)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = nibabel.orientations.apply_orientation(array, turn)
    return nibabel.Nifti1Image(turned, image.affine @ inv_ornt_aff(turn, array.shape))


@pytest.mark.parametrize("codes", ["RAS", "PSR", "LAS", "LPS", "LIA", "SPL"])
def test_every_orientation_comes_out_as_ras_with_its_voxels_in_their_places(
    codes: str, tmp_path: Path
) -> None:
    image = stored_as(codes, COUNTING)
    assert "".join(nibabel.aff2axcodes(image.affine)) == codes
    nibabel.save(image, tmp_path / "scan.nii.gz")
    found = scan.read_image(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(found.array, COUNTING)
    np.testing.assert_allclose(found.affine, AFFINE)


def test_a_voxel_keeps_its_world_coordinates_through_an_oblique_affine(tmp_path: Path) -> None:
    # Stored axes: first towards the left, second up, third to the front, tilted by 30 degrees about L-R.
    cos, sin = np.cos(np.pi / 6), 0.5
    affine = np.array([[-2, 0, 0, 7], [0, -3 * sin, 4 * cos, 1], [0, 3 * cos, 4 * sin, 2], [0, 0, 0, 1.0]])
    found = scan.read_image(save(tmp_path / "scan.nii", COUNTING, affine))
    # By hand: stored voxel (1, 2, 3) lies at x = 5, y = 1 - 3 + 12 cos, z = 2 + 6 cos + 6.
    world = np.array([5.0, -2 + 12 * cos, 8 + 6 * cos, 1])
    index = np.linalg.inv(found.affine) @ world
    np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-4)  # headers hold float32
    assert found.array[tuple(np.rint(index[:3]).astype(int))] == COUNTING[1, 2, 3]
    assert nibabel.aff2axcodes(found.affine) == ("R", "A", "S")
    np.testing.assert_allclose(found.spacing_mm, [2, 4, 3], rtol=1e-6)


def test_a_last_axis_of_one_is_dropped_and_a_series_is_refused(tmp_path: Path) -> None:
    found = scan.read_image(save(tmp_path / "one.nii.gz", COUNTING[..., None]))
    np.testing.assert_array_equal(found.array, COUNTING)
    series = save(tmp_path / "series.nii.gz", np.stack([COUNTING, COUNTING], -1))
    with pytest.raises(SubjectError, match=r"shape \(4, 5, 6, 2\).*extract one volume"):
        scan.read_image(series)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(value: float, tmp_path: Path) -> None:
    array = COUNTING.astype(np.float32)
    array[1, 2, 3] = value
    with pytest.raises(SubjectError, match="1 voxels that are NaN or infinite"):
        scan.read_image(save(tmp_path / "scan.nii", array))


def test_a_constant_volume_is_no_image_but_may_be_a_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(SubjectError, match="the one value 0"):
        scan.read_image(path)
    assert not scan.read_labels(path).array.any()


def test_damaged_files_are_refused_with_the_path(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.nii.gz", COUNTING).read_bytes()
    plain = save(tmp_path / "whole.nii", COUNTING).read_bytes()
    damaged = {
        "truncated.nii.gz": whole[: len(whole) // 2],
        "corrupt.nii.gz": whole[:40] + b"\x00\xff\x00\xff" + whole[44:],
        "zero.nii.gz": b"",
        "zero.nii": b"",
        "short.nii": plain[:-10],
        "header.nii": plain[:200],
        "text.nii": b"<html>404</html>" * 40,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SubjectError, match=name):
            scan.read_image(tmp_path / name)
    with pytest.raises(SubjectError, match=r"absent\.nii"):
        scan.read_image(tmp_path / "absent.nii")


def test_a_nii_that_is_really_gzip_and_the_reverse_are_read(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain.nii", COUNTING).read_bytes()
    (tmp_path / "zipped.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "not_zipped.nii.gz").write_bytes(plain)
    for name in ("zipped.nii", "not_zipped.nii.gz"):
        np.testing.assert_array_equal(scan.read_image(tmp_path / name).array, COUNTING)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(COUNTING, AFFINE)
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "scan.nii")  # keeps the values: stores (value - 3) / 0.5
    found = scan.read_image(tmp_path / "scan.nii").array
    np.testing.assert_allclose(
        found, nibabel.Nifti1Image.from_filename(tmp_path / "scan.nii").get_fdata(), rtol=1e-6
    )
    assert found.dtype == np.float32


def test_big_endian_float64_and_nifti_2_are_read(tmp_path: Path) -> None:
    big = nibabel.Nifti1Image(
        COUNTING.astype(">f8"), AFFINE, nibabel.Nifti1Header(endianness=">"), dtype=">f8"
    )
    nibabel.save(big, tmp_path / "big.nii")
    nibabel.save(nibabel.Nifti2Image(COUNTING, AFFINE), tmp_path / "two.nii")
    for name in ("big.nii", "two.nii"):
        found = scan.read_image(tmp_path / name)
        np.testing.assert_array_equal(found.array, COUNTING)
        assert found.array.dtype.isnative
        np.testing.assert_allclose(found.affine, AFFINE)


def test_a_plain_analyze_file_needs_an_orientation_and_its_affine_is_not_believed(tmp_path: Path) -> None:
    image = nibabel.AnalyzeImage(COUNTING, np.diag([2.0, 3, 4, 1]))
    nibabel.save(image, tmp_path / "scan.img")
    with pytest.raises(SubjectError, match="does not say how it is oriented"):
        scan.read_image(tmp_path / "scan.img")
    found = scan.read_image(tmp_path / "scan.hdr", orientation="LAS")
    np.testing.assert_array_equal(found.array, COUNTING[::-1])
    np.testing.assert_allclose(found.spacing_mm, [2, 3, 4])
    np.testing.assert_allclose(found.affine @ [1.5, 2, 2.5, 1], [0, 0, 0, 1], atol=1e-6)  # centred


def test_a_nifti_pair_is_read_through_either_file(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(COUNTING, AFFINE), tmp_path / "scan.img")
    for name in ("scan.img", "scan.hdr"):
        np.testing.assert_array_equal(scan.read_image(tmp_path / name).array, COUNTING)
    (tmp_path / "scan.hdr").unlink()
    with pytest.raises(SubjectError, match=r"scan\.hdr"):
        scan.read_image(tmp_path / "scan.img")


def test_qform_and_sform_that_disagree_are_named(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(COUNTING, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 0.9  # less than half of the smallest voxel side, 2 mm
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "close.nii")
    np.testing.assert_allclose(scan.read_image(tmp_path / "close.nii").affine, AFFINE)
    moved[0, 3] += 0.2
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "apart.nii")
    with pytest.raises(SubjectError, match=r"1\.1 mm apart \(qform .*sform"):
        scan.read_image(tmp_path / "apart.nii")


def test_a_nifti_without_any_coded_affine_needs_an_orientation(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(COUNTING, AFFINE)
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "scan.nii")
    with pytest.raises(SubjectError, match="does not say how it is oriented"):
        scan.read_image(tmp_path / "scan.nii")
    found = scan.read_image(tmp_path / "scan.nii", orientation="RAS")
    np.testing.assert_array_equal(found.array, COUNTING)


def test_an_affine_that_flattens_the_volume_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(COUNTING, AFFINE)
    image.set_qform(None, 0)
    image.header["srow_z"] = 0
    nibabel.save(nibabel.Nifti1Image(COUNTING, None, image.header), tmp_path / "scan.nii")
    with pytest.raises(SubjectError, match="onto a plane"):
        scan.read_image(tmp_path / "scan.nii")


def test_labels_stored_as_float_are_rounded_and_others_refused(tmp_path: Path) -> None:
    labels = (COUNTING % 3).astype(np.float32)
    found = scan.read_labels(save(tmp_path / "near.nii", labels * np.float32(0.9999999)))
    np.testing.assert_array_equal(found.array, COUNTING % 3)
    with pytest.raises(SubjectError, match="no integers"):
        scan.read_labels(save(tmp_path / "far.nii", labels * np.float32(0.5)))


def test_the_voxel_hash_does_not_depend_on_how_the_file_was_stored(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a.nii", COUNTING), save(tmp_path / "b.nii.gz", COUNTING.astype(np.float64))]
    nibabel.save(stored_as("PSR", COUNTING), tmp_path / "c.nii")
    hashes = {scan.voxel_hash(scan.read_image(p).array) for p in [*paths, tmp_path / "c.nii"]}
    assert len(hashes) == 1
    other = COUNTING.copy()
    other[0, 0, 0] += 1
    assert scan.voxel_hash(other) not in hashes
    assert scan.voxel_hash(COUNTING.reshape(5, 4, 6)) not in hashes
    assert scan.voxel_hash(COUNTING + np.float32(0.5)) not in hashes


def test_lattices_equal_in_shape_but_not_in_affine_are_told_apart() -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 1
    one = scan.Scan(COUNTING, AFFINE)
    assert one.same_lattice(scan.Scan(COUNTING, AFFINE + 1e-5))
    assert not one.same_lattice(scan.Scan(COUNTING, moved))
    assert not one.same_lattice(scan.Scan(COUNTING[1:], AFFINE))


# ---- headers that cannot be true ---------------------------------------------------------------


def with_fields(path: Path, **fields: object) -> Path:
    """The counting volume with header fields set to whatever, in the bytes."""
    nibabel.save(nibabel.Nifti1Image(COUNTING, AFFINE), path)
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


def flat(value: float) -> dict[str, object]:
    """An affine along the axes, in sform and not in qform."""
    return {"qform_code": 0, "srow_x": [value, 0, 0, 0], "srow_y": [0, 3, 0, 0], "srow_z": [0, 0, 4, 0]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": [3, 3, 5, 6, 1, 1, 1, 1]}, "holds more than shape"),
        ({"dim": [3, 4, 5, 5, 1, 1, 1, 1]}, "holds more than shape"),
        ({"dim": [3, 4, 5, 7, 1, 1, 1, 1]}, "is cut short"),
        ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, "has shape"),
        ({"dim": [3, 4, -5, 6, 1, 1, 1, 1]}, "has shape"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "announces a volume of 32767 x 32767 x 32767"),
        ({"datatype": 128, "bitpix": 24}, "one number per voxel"),
        ({"datatype": 32, "bitpix": 64}, "one number per voxel"),
        ({"datatype": 77}, "header that cannot be used"),
        ({"vox_offset": np.nan}, "header that cannot be used"),
        ({"vox_offset": 1e30}, "header that cannot be used"),
        ({"vox_offset": -16}, "header that cannot be used"),
        ({"scl_slope": np.inf}, "header that cannot be used|scaled"),
        ({"scl_slope": 1.0, "scl_inter": np.nan}, "header that cannot be used|shifted"),
        ({"scl_slope": 1e37}, "has values from|infinite"),
        (flat(1e30), "voxels of|onto a plane"),
        (flat(0.01), "voxels of 0.01 x 3 x 4 mm; expected sides of 0.05 to 20 mm"),
        (flat(np.nan), "onto a plane or nowhere"),
        (flat(0), "onto a plane"),
        (flat(2) | {"srow_y": [0, 3, 0, 1e5]}, "mm from the origin of the world; expected at most 5000"),
    ],
    ids=str,
)
def test_a_header_that_cannot_be_true_is_refused_in_a_sentence(
    fields: dict[str, object], words: str, tmp_path: Path
) -> None:
    """Such numbers left the reader as tracebacks, or were taken: voxels sheared, spacing 1e30."""
    path = with_fields(tmp_path / "odd.nii", **fields)
    with pytest.raises(SubjectError, match=rf"odd\.nii.*({words})"):
        scan.read_image(path)


@pytest.mark.parametrize("value", [1e38, -1e20])
def test_intensities_that_cannot_be_summed_are_refused(value: float, tmp_path: Path) -> None:
    array = COUNTING.astype(np.float64)
    array[1, 2, 3] = value
    with pytest.raises(SubjectError, match="expected values up to 1e"):
        scan.read_image(save(tmp_path / "scan.nii", array))


def test_padding_of_zeros_is_no_damage_and_other_bytes_behind_are(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", COUNTING)
    content = path.read_bytes()
    for behind in (b"", bytes(20)):
        for stored in (content + behind, gzip.compress(content + behind), gzip.compress(content) + behind):
            path.write_bytes(stored)
            np.testing.assert_array_equal(scan.read_image(path).array, COUNTING)
    for stored in (content + b"x", gzip.compress(content + b"x"), gzip.compress(content) + b"x"):
        path.write_bytes(stored)
        with pytest.raises(SubjectError, match=r"scan\.nii"):
            scan.read_image(path)


def test_a_gzip_file_is_decompressed_no_further_than_its_header_asks_for(tmp_path: Path) -> None:
    """A file of 4.3 MB took 4.2 GB."""
    path = save(tmp_path / "scan.nii", COUNTING)
    content = path.read_bytes()
    bomb = gzip.compress(bytes(2**27), 9)
    tracemalloc.start()
    try:
        for stored in (gzip.compress(content) + bomb * 8, gzip.compress(content + bytes(2**27), 9), bomb):
            path.write_bytes(stored)
            tracemalloc.reset_peak()
            with pytest.raises(SubjectError, match=r"scan\.nii"):
                scan.read_image(path)
            assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_a_gzip_file_of_several_members_is_one_file(tmp_path: Path) -> None:
    """As bgzip writes them, with an empty member at the end."""
    path = save(tmp_path / "scan.nii", COUNTING)
    content = path.read_bytes()
    parts = [gzip.compress(content[start : start + 50]) for start in range(0, len(content), 50)]
    path.write_bytes(b"".join(parts) + gzip.compress(b""))
    np.testing.assert_array_equal(scan.read_image(path).array, COUNTING)


def test_a_pipe_and_a_folder_are_no_scans_and_nobody_waits_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "folder.nii").mkdir()
    for name in ("pipe.nii", "folder.nii"):
        with pytest.raises(SubjectError, match=name):
            scan.read_image(tmp_path / name)


def test_the_lattice_of_a_file_is_that_of_its_voxels(tmp_path: Path) -> None:
    nibabel.save(stored_as("LPS", COUNTING), tmp_path / "scan.nii.gz")
    lattice = scan.read_lattice(tmp_path / "scan.nii.gz")
    assert lattice.same_lattice(scan.read_scan(tmp_path / "scan.nii.gz"))
