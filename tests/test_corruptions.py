"""What real files contain to one's surprise: each corruption has a test, and here stands which.

A test that is renamed or removed is missed, and so is a corruption of the fixtures that is not named here.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from uadbench import testing
from uadbench.testing import corruptions
from uadbench.testing.name_corruptions import NAME_CORRUPTIONS

TESTS = Path(__file__).parent
HANDLED = "test_fixtures.py::test_a_corruption_that_is_handled_harms_nobody"
PROBLEM = "test_fixtures.py::test_a_corruption_that_spoils_a_file_is_a_problem_of_that_subject_alone"
LEFT_OUT = "test_fixtures.py::test_a_corruption_that_makes_a_subject_useless_leaves_it_out"
LAYOUT = "test_fixtures.py::test_every_layout_gives_the_subjects_that_were_written"
REPEATED = "test_fixtures.py::test_a_repeat_scan_is_the_same_person_and_in_the_same_partition"

# What real files contain to one's surprise -> how the names of tests begin.
CORRUPTIONS = {
    "z-scored volumes: background is not zero": [
        "test_prepare.py::test_a_z_scored_volume_keeps_its_dark_brain",
    ],
    "brain mask maximum is 0.99999997 (threshold > 0.5, never == 1)": [
        "test_prepare.py::test_a_mask_whose_maximum_is_just_below_one_is_a_mask",
        f"{HANDLED}[brats13-rounded_mask",
    ],
    "label files stored as float32": [
        "test_scan.py::test_labels_stored_as_float_are_rounded_and_others_refused",
        "test_fixtures.py::test_labels_that_are_almost_whole_are_the_labels",
        f"{HANDLED}[brats13-float_labels",
    ],
    "cut fields of view": [f"{HANDLED}[brats13-cut_view"],
    "Two scans of one person under different ids (repeat scans): split by person": [
        "test_splits.py::test_two_scans_of_one_person_under_different_ids_stay_together",
        "test_splits.py::test_a_person_in_two_partitions_stops_the_run",
        "test_verify.py::test_a_person_in_two_partitions_is_a_problem",
        *[f"{REPEATED}[{name}]" for name in ("atlas2", "brats13", "brats21", "isles22", "ixi", "oasis1")],
    ],
    "Mask and image on different grids": [
        "test_prepare.py::test_a_mask_on_another_grid_is_brought_over_through_the_world",
        f"{HANDLED}[isles22-mask_on_another_grid",
    ],
    "grids equal in shape but not in affine": [
        "test_scan.py::test_lattices_equal_in_shape_but_not_in_affine_are_told_apart",
        "test_verify.py::test_another_shape_is_remarked_and_another_affine_of_the_same_shape_is_a_problem",
        f"{PROBLEM}[wmh17-shifted_mask",
    ],
    "oblique affines": [
        "test_scan.py::test_a_voxel_keeps_its_world_coordinates_through_an_oblique_affine",
        f"{HANDLED}[camcan-oblique",
    ],
    "qform and sform that disagree": [
        "test_scan.py::test_qform_and_sform_that_disagree_are_named",
        f"{PROBLEM}[mslub-disagreeing_forms",
    ],
    "4-D files with a last axis of 1": [
        "test_scan.py::test_a_last_axis_of_one_is_dropped_and_a_series_is_refused",
        f"{HANDLED}[ixi-four_axes",
    ],
    "Orientation: PSR, LAS, LPS files; canonicalise before slicing": [
        *[
            f"test_scan.py::test_every_orientation_comes_out_as_ras_with_its_voxels_in_their_places[{axes}]"
            for axes in ("PSR", "LAS", "LPS")
        ],
        "test_fixtures.py::test_how_a_file_is_stored_does_not_change_what_is_read[orientations]",
    ],
    "NaN and infinities": [
        "test_scan.py::test_nan_and_infinity_are_refused[nan]",
        "test_scan.py::test_nan_and_infinity_are_refused[inf]",
        f"{PROBLEM}[oasis1-nan",
    ],
    "constant volumes": [
        "test_scan.py::test_a_constant_volume_is_no_image_but_may_be_a_mask",
        f"{PROBLEM}[brats21-constant",
    ],
    "empty masks": [
        "test_prepare.py::test_an_empty_lesion_mask_is_legal_and_an_empty_brain_mask_is_not",
        f"{HANDLED}[atlas2-empty_mask",
    ],
    "masks with labels outside the declared set": [
        "test_prepare.py::test_labels_outside_the_card_are_named",
        f"{PROBLEM}[atlas2-unknown_label",
    ],
    "truncated gzip": [
        "test_scan.py::test_damaged_files_are_refused_with_the_path",
        f"{PROBLEM}[ixi-truncated",
    ],
    "zero-byte files": [f"{PROBLEM}[msseg16-zero_bytes", f"{PROBLEM}[oasis1-zero_bytes"],
    "a `.nii` that is really gzip": [
        "test_scan.py::test_a_nii_that_is_really_gzip_and_the_reverse_are_read",
        f"{HANDLED}[camcan-disguised_gzip",
    ],
    "macOS `._` files": [f"{HANDLED}[ixi-macos", f"{HANDLED}[msseg16-macos"],
    "Mixed case names": [
        "test_adapters.py::test_ixi_names_in_another_case_are_the_same_person",
        f"{HANDLED}[mslub-mixed_case",
    ],
    "a space in a folder": [f"{HANDLED}[wmh17-folder_with_space", f"{HANDLED}[ixi-folder_with_space"],
    "`;` separated tables": [
        "test_adapters.py::test_the_ixi_table_may_repeat_miss_and_contradict[semicolon]",
        f"{HANDLED}[oasis1-semicolons",
    ],
    "a table row without a file": [f"{LEFT_OUT}[ixi-row_without_file", f"{LEFT_OUT}[oasis1-row_without_file"],
    "a file without a row": [f"{HANDLED}[camcan-file_without_row", f"{LEFT_OUT}[oasis1-file_without_row"],
    "Duplicated images in train and test (hash the voxels, not the file)": [
        "test_scan.py::test_the_voxel_hash_does_not_depend_on_how_the_file_was_stored",
        "test_prepare.py::test_the_same_voxels_in_two_partitions_or_under_two_persons_stop_the_run",
        "test_verify.py::test_a_duplicate_across_partitions_names_both",
        "test_intake.py::test_of_two_equal_subjects_the_first_is_kept",
        f"{PROBLEM}[camcan-duplicate",
    ],
}

# What single data sets contain to one's surprise.
IN_PASSING = {
    "duplicate and\n  missing ids": [
        "test_adapters.py::test_the_ixi_table_may_repeat_miss_and_contradict[xls]",
    ],
    "`n4` may be `n3` or another": [
        "test_fixtures.py::test_the_number_after_n_in_names_of_oasis1_may_be_any",
    ],
    "CDR blank = young healthy": [
        "test_fixtures.py::test_a_blank_cdr_of_oasis1_is_a_young_healthy_person",
        f"{LEFT_OUT}[oasis1-dementia",
    ],
    "`OAS1_xxxx_MR2` are repeat scans of the same person": [
        "test_fixtures.py::test_a_repeat_scan_of_a_person_with_dementia_is_left_out_too",
        f"{REPEATED}[oasis1]",
    ],
    "Analyze files carry no usable affine": [
        "test_fixtures.py::test_the_orientation_of_analyze_files_is_the_cards_and_not_the_headers",
        f"{LEFT_OUT}[oasis1-no_voxels",
    ],
    "one patient of the common mirror has an irregular seg name": [f"{HANDLED}[brats21-irregular_name"],
    "ET is label 3": [f"{LAYOUT}[brats21-2023]"],
    "some copies drop the `R001` folder": [f"{LAYOUT}[atlas2-no site folders]"],
    "Testing has no masks": [f"{LEFT_OUT}[atlas2-testing"],
    "two variants, accept both": [
        f"{LAYOUT}[isles22-rawdata]",
        f"{LAYOUT}[isles22-anat and dwi]",
        "test_fixtures.py::test_both_variants_of_isles22_under_one_root_are_one_subject_each",
    ],
    "may have moved: register FLAIR rigidly to DWI": [
        "test_fixtures.py::test_the_lesions_of_isles22_belong_to_the_dwi_and_its_flair_has_moved",
        "test_extract.py::test_a_lesion_mask_drawn_on_a_moved_contrast_is_brought_over",
    ],
    "(the space and dots are real)": [
        "test_fixtures.py::test_the_folder_of_wmh17_with_a_space_and_dots_is_a_site",
    ],
    "2 other pathology (left out of scoring, neither hit nor false)": [
        "test_fixtures.py::test_another_pathology_of_wmh17_is_neither_hit_nor_false",
    ],
    "Older archives: `Utrecht/0/`": [f"{LAYOUT}[wmh17-older]"],
    "`gt` is lesion *change*, not lesions": [
        "test_adapters.py::test_mslub_longitudinal_change_is_never_a_lesion_mask",
        "test_fixtures.py::test_what_lies_beside_the_subjects_is_left_out[mslub-longitudinal",
    ],
    "(PD is called DP)": ["test_fixtures.py::test_dp_of_msseg16_is_pd"],
}

# Names, folders and tables as downloads have them.
DOWNLOADS = {
    "suffixes in capitals": [
        "test_walk.py::test_own_masks_are_found_whatever_the_case_of_the_suffixes",
        f"{HANDLED}[ixi-capital_suffixes",
        f"{HANDLED}[oasis1-capital_suffixes",
    ],
    "linked folders, and links in circles": [
        "test_walk.py::test_linked_folders_are_entered_and_circles_are_not",
        f"{HANDLED}[ixi-linked_folders",
    ],
    "links whose content was not fetched": [
        "test_walk.py::test_content_that_was_not_fetched_is_told_with_the_way_to_fetch_it",
        f"{LEFT_OUT}[atlas2-absent_content",
    ],
    "folders unpacked one level deeper": [
        "test_intake.py::test_images_deeper_than_expected_are_told_as_that",
        f"{HANDLED}[mslub-doubled_folders",
    ],
    "tables in UTF-16, remarks around them": [
        f"{HANDLED}[ixi-unicode_text",
        f"{HANDLED}[oasis1-remark_lines",
        "test_tables.py::test_every_encoding_and_separator_says_the_same",
    ],
    "ages that are none, rows that contradict": [
        f"{HANDLED}[camcan-impossible_age",
        f"{HANDLED}[ixi-contradicting_rows",
        "test_tables.py::test_rows_of_one_person_that_contradict_say_nothing_and_no_row_wins",
    ],
    "a lesion mask that is not there": [f"{LEFT_OUT}[brats21-no_lesion_mask"],
}


@pytest.mark.thorough
def test_every_corruption_has_a_test_that_names_it() -> None:
    named = [name for tests in (CORRUPTIONS | IN_PASSING | DOWNLOADS).values() for name in tests]
    files = sorted({str(TESTS / name.split("::")[0]) for name in named})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False, cwd=TESTS.parent)
    there = [line.removeprefix(f"{TESTS.name}/") for line in done.stdout.splitlines()]
    missed = [
        f"{corruption}: {name}"
        for corruption, tests in (CORRUPTIONS | IN_PASSING | DOWNLOADS).items()
        for name in tests
        if not any(test.startswith(name) for test in there)
    ]
    assert missed == [], done.stdout[-500:] + done.stderr[-500:]


def test_every_corruption_that_a_fixture_holds_is_named() -> None:
    """A corruption that is added to the fixtures must be added here."""
    named = " ".join(name for tests in (CORRUPTIONS | IN_PASSING | DOWNLOADS).values() for name in tests)
    every = corruptions.CORRUPTIONS | NAME_CORRUPTIONS
    own = {
        corruption
        for name in testing.fixture_names()
        for corruption in getattr(_fixture(name), "CORRUPTIONS", {})
    }
    missed = [name for name in every if f"-{name}" not in named and f"[{name}" not in named]
    assert missed == []
    assert own - set(every)  # those of single data sets have tests of their own


def _fixture(name: str) -> object:
    return importlib.import_module(f"uadbench.datasets.{name}.fixture")
