"""Folders and names: one walk for all data sets, which enters links, and says what it cannot read."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uadbench.data import layout, suffixes
from uadbench.data.session import Remark


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root: Path, found: list[Path]) -> list[str]:
    return [str(path.relative_to(root)) for path in found]


# ---- suffixes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".NII.GZ", ".Nii.Gz", ".hdr", ".IMG", ".img.gz", ".HDR.GZ"]
)
def test_a_volume_is_known_by_its_suffix_in_any_case(suffix: str) -> None:
    assert suffixes.volume_stem(Path(f"a/b.c_T1{suffix}")) == "b.c_T1"


@pytest.mark.parametrize("name", ["a.nii.bz2", "nii", "a.gz", "a.tif", "anii", "a.nii.gz.txt"])
def test_other_files_are_no_volumes(name: str) -> None:
    assert suffixes.volume_stem(Path(name)) is None


@given(st.text("abc.", min_size=1, max_size=6), st.sampled_from([".nii", ".nii.gz", ".hdr", ".img"]))
def test_the_case_of_a_suffix_changes_no_name(stem: str, suffix: str) -> None:
    assert suffixes.volume_stem(Path(f"x{stem}{suffix.upper()}")) == f"x{stem}"


def test_the_other_file_of_a_pair_is_found_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "a.hdr", "a.img", "b.HDR", "b.IMG", "c.hdr", "c.IMG", "d.hdr.gz", "d.img.gz")
    for header, voxels in (
        ("a.hdr", "a.img"),
        ("b.HDR", "b.IMG"),
        ("c.hdr", "c.IMG"),
        ("d.hdr.gz", "d.img.gz"),
    ):
        for one in (header, voxels):
            assert suffixes.files_of(tmp_path / one) == (tmp_path / header, tmp_path / voxels)
    assert suffixes.files_of(tmp_path / "e.HDR") == (tmp_path / "e.HDR", tmp_path / "e.IMG")
    assert suffixes.files_of(tmp_path / "e.nii") == (tmp_path / "e.nii",)
    assert [path.name for path, _ in layout.find_volumes(tmp_path, ".")] == [
        "a.hdr",
        "b.HDR",
        "c.hdr",
        "d.hdr.gz",
    ]


def test_own_masks_are_found_whatever_the_case_of_the_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "Sub_T1.NII.GZ", "sub_t2.nii", "MASKS/sub_T1_brain.NII.GZ", "MASKS/SUB_T2.Nii")
    masks = layout.find_own_masks(tmp_path)
    images = {"T1": tmp_path / "Sub_T1.NII.GZ", "T2": tmp_path / "sub_t2.nii"}
    assert {c: path.name for c, path in layout.match_own_masks(masks, images).items()} == {
        "T1": "sub_T1_brain.NII.GZ",
        "T2": "SUB_T2.Nii",
    }


# ---- the walk ----------------------------------------------------------------------------------


def test_linked_folders_are_entered_and_circles_are_not(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    touch(root, "own/a.nii")
    touch(store, "deep/b.nii")
    (root / "linked").symlink_to("../store")
    (root / "own/again").symlink_to("../own")
    (root / "up").symlink_to("..")
    (root / "itself").symlink_to("itself")
    (store / "deep/back").symlink_to(root)
    (store / "deep/over").symlink_to(store)
    tree = layout.walk_tree(root)
    assert names(root, tree.files) == ["linked/deep/b.nii", "own/a.nii"]
    assert names(root, tree.folders) == [".", "linked", "linked/deep", "own"]
    assert names(root, tree.absent) == ["itself"]


def test_a_folder_that_is_reached_twice_is_entered_once_and_as_itself(tmp_path: Path) -> None:
    touch(tmp_path, "root/z/deep/a.nii", "store/inner/b.nii")
    root = tmp_path / "root"
    (root / "a").symlink_to("z")  # sorts before the folder itself
    (root / "b").symlink_to("../store/inner")
    (root / "c").symlink_to("../store")
    assert names(root, layout.walk_tree(root).files) == ["b/b.nii", "z/deep/a.nii"]


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/T1/a.nii")
    (tmp_path / "root").symlink_to("real")
    assert names(tmp_path, layout.walk_tree(tmp_path / "root").files) == ["root/T1/a.nii"]


def test_content_that_was_not_fetched_is_told_with_the_way_to_fetch_it(tmp_path: Path) -> None:
    touch(tmp_path, "here.nii.gz", "._x.nii.gz", ".git/annex/objects/k")
    (tmp_path / "annex.nii.gz").symlink_to(".git/annex/objects/none")
    (tmp_path / "folder").symlink_to(".git/annex/folder")
    (tmp_path / "unlocked.nii.gz").write_bytes(b"/annex/objects/SHA256E-s9--ab.nii.gz\n")
    (tmp_path / "lfs.tif").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "words.txt").write_bytes(b"version https://example.org is another text")
    assert names(tmp_path, layout.walk_tree(tmp_path).files) == ["here.nii.gz", "words.txt"]
    (item,) = layout.find_unseen(tmp_path)
    assert item.id == "links without content"
    assert item.reason.startswith(
        "the content of 4 (annex.nii.gz, folder, lfs.tif, unlocked.nii.gz) is not here"
    )
    assert "`datalad get .`" in item.reason
    assert layout.find_volume(tmp_path, "annex") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "shut/a.nii", "open/b.nii")
    (tmp_path / "shut").chmod(0)
    try:
        assert [path.name for path, _ in layout.find_volumes(tmp_path, ".")] == ["b.nii"]
        assert [item.reason for item in layout.find_unseen(tmp_path)] == ["1 (shut)"]
    finally:
        (tmp_path / "shut").chmod(0o755)


def test_one_volume_in_two_files_is_remarked(tmp_path: Path) -> None:
    touch(tmp_path, "P1/a.nii", "P1/A.nii.gz", "P1/b.hdr", "P1/b.img", "P2/a.nii")
    (item,) = layout.find_unseen(tmp_path)
    assert isinstance(item, Remark)
    assert item.reason.startswith("2 (P1/A.nii.gz, P1/a.nii): only one of each is used")


def test_a_folder_inside_one_of_its_own_name_is_the_one_that_is_meant(tmp_path: Path) -> None:
    touch(tmp_path, "P1/P1/a.nii", "P2/a.nii", "P3/P3/a.nii", "P3/b.nii")
    found = [str(path.relative_to(tmp_path.absolute())) for path, _ in layout.find_folders(tmp_path, r"P\d")]
    assert found == ["P1/P1", "P2", "P3", "P3/P3"]


def test_what_lies_deeper_than_expected_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "one/more/T1.nii.gz")
    reason = layout.explain_lack(tmp_path, "has no image", "T1|FLAIR")
    assert reason == "has no image; found deeper, under one/more: move it up"
    assert layout.explain_lack(tmp_path, "has no image", "T2") == "has no image"
