"""The field's comparison: every published value within reach, none mixed with another setting's."""

import csv
import io
import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pandas
import pytest
from rich.console import Console
from typer.testing import CliRunner

from uadbench.cards import method_cards
from uadbench.cli import app
from uadbench.report import published, screen
from uadbench.report.field import findings, formats, views, words
from uadbench.report.field.collection import collection, narrowed
from uadbench.system.errors import UserError

CARD_FAMILY = {"baseline": {"threshold", "chance"}}  # our cards put all untrained methods into one family


@pytest.fixture(scope="module")
def whole() -> pandas.DataFrame:
    return collection()


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["published", *arguments])
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout


# ---- the collection ----------------------------------------------------------------------------


def test_the_collection_lies_in_the_package_and_has_the_values_of_both_rounds(
    whole: pandas.DataFrame,
) -> None:
    assert (files("uadbench.report") / "published.csv").is_file()
    assert len(whole) == len(published.read_figures()) >= 467


def test_values_are_fractions_within_their_interval(whole: pandas.DataFrame) -> None:
    assert whole["value"].between(0, 1).all()
    printed = whole[whole["low"].notna()]
    assert (printed["low"] <= printed["value"]).all()
    assert (printed["value"] <= printed["high"]).all()
    assert whole["spread"].dropna().between(0, 0.5).all()


def test_false_alarms_stand_beside_dice_only(whole: pandas.DataFrame) -> None:
    alarms = whole[whole["false_alarms"].notna()]
    assert set(alarms["metric"]) == {"DSC"}
    of_ixi = alarms[(alarms["regime"] == "cross") & ~alarms["label"].str.contains("thick")]
    assert sorted(of_ixi["false_alarms"]) == [0.29, 0.388], "the anchor across cohorts: 29 and 39 %"


def test_no_value_is_there_twice(whole: pandas.DataFrame) -> None:
    same = [
        "source",
        "version",
        "label",
        "part",
        "test",
        "contrast",
        "metric",
        "threshold",
        "regime",
        "train",
    ]
    assert not whole.duplicated([*same, "note"]).any()


def test_families_kinds_and_test_sets_are_those_of_the_lists(whole: pandas.DataFrame) -> None:
    assert set(whole["family"]) <= {*words.FAMILIES, ""}
    assert set(whole["kind"]) <= {*words.KINDS, ""}
    assert set(whole["test"]) <= {*words.TEST_SETS, "nine public sets", ""}
    assert set(whole["threshold"]) <= set(words.RULES)
    assert set(whole["regime"]) <= set(words.SETTINGS)
    named = whole[whole["test"] != ""]
    assert (named.groupby("test")["kind"].nunique() == 1).all(), "a test set has one kind of lesion"


def test_a_method_of_ours_is_in_the_family_of_its_card(whole: pandas.DataFrame) -> None:
    cards = method_cards()
    for facts in whole[whole["method"] != ""].to_dict("records"):
        family = cards[str(facts["method"])].family
        assert facts["family"] in CARD_FAMILY.get(family, {family}), facts["label"]


def test_what_moved_between_versions_stands_with_both(whole: pandas.DataFrame) -> None:
    dae = whole[(whole["label"] == "DAE") & (whole["test"] == "isles22")]
    assert {(row.value, row.version) for row in dae.itertuples()} == {(0.3129, "first"), (0.1465, "second")}
    assert dae["moved"].all()
    paired = whole[whole["other_version"].notna()]
    ends = Counter((row.source, row.test, row.value, row.other_version) for row in paired.itertuples())
    assert all(ends[source, test, other, value] for source, test, value, other in ends)


# ---- by test set -------------------------------------------------------------------------------


def test_every_value_is_a_row_of_its_test_set_with_its_source(whole: pandas.DataFrame) -> None:
    sheets = views.by_test(whole)
    shown = [(sheet, row) for sheet in sheets for row in sheet.lines]
    assert len(shown) == len(whole)
    for sheet, row in shown:
        assert len(row) == len(sheet.headers)
        assert sheet.sources[row[-1].strip("[]")], "the key names a source"
    expected = Counter((name, f"[{key}]") for name, key in zip(whole["name"], whole["key"], strict=True))
    assert Counter((row[0], row[-1]) for _, row in shown) == expected


def test_a_key_stands_for_one_source(whole: pandas.DataFrame) -> None:
    assert (whole.groupby("key")["cited"].nunique() == 1).all()
    assert (whole.groupby("cited")["key"].nunique() == 1).all()
    assert all(
        cited.startswith(source) for cited, source in zip(whole["cited"], whole["source"], strict=True)
    )


# ---- by family and kind of lesion --------------------------------------------------------------


def test_no_cell_mixes_settings(whole: pandas.DataFrame) -> None:
    found = views.find_cells(whole)
    for cell in found:
        for column in ("family", "kind", "regime", "contrast", "threshold", "quantity", "averaged"):
            assert cell.values[column].nunique() == 1, (column, cell)
        pooled = {how.startswith("mean over") or how for how in cell.values["averaging"]}
        assert len(pooled) == 1 or set(cell.values["metric"]) == {"DSC mean"}
        dice = set(cell.values["metric"]) & {"DSC", "DSC mean"}
        if not cell.regime or not cell.contrast or (dice and not cell.threshold):
            assert cell.values["source"].nunique() == 1, "what is not stated may differ between sources"
            assert cell.values["version"].nunique() == 1
    assert sum(len(cell.values) for cell in found) == int(whole["level"].sum()), "each value in one cell"


def test_best_and_median_of_a_cell_worked_out_by_hand(whole: pandas.DataFrame) -> None:
    """Features on BraTS20 T1, AP: DFR .252 and FAE .536."""
    (cell,) = [
        cell
        for cell in views.find_cells(whole)
        if (cell.family, cell.quantity, cell.contrast) == ("feature", "AP", "T1")
    ]
    assert (cell.best["label"], cell.best["value"]) == ("FAE", 0.536)
    assert (cell.median, len(cell.values), cell.keys) == (0.394, 2, ["9"])
    (atlas,) = [
        cell
        for cell in views.find_cells(whole)
        if (cell.family, cell.kind, cell.threshold) == ("feature", "stroke", "val")
    ]
    assert (len(atlas.values), atlas.methods) == (9, 3), "FAE, RD and PatchCore on three parts of ATLAS"
    assert atlas.median == 0.130


def test_eight_families_have_values_on_four_kinds_of_lesion(whole: pandas.DataFrame) -> None:
    kinds = whole[whole["level"]].groupby("family")["kind"].agg(set)
    complete = [family for family, there in kinds.items() if family and set(words.LESIONS) <= there]
    assert len(complete) >= 8
    sheet = views.overview(whole)
    assert sheet.headers[1:5] == words.LESIONS
    assert sum(int(cell) for row in sheet.lines for cell in row[1:] if cell != "-") == len(whole)


def test_gains_of_one_method_over_another_stand_in_no_cell(whole: pandas.DataFrame) -> None:
    gains = whole[~whole["level"]]
    assert set(gains["metric"]) >= {"relative change of AP", "DSC gain over the best of 17"}


# ---- filters, words, findings ------------------------------------------------------------------


def test_filters_narrow_and_a_mistake_lists_what_there_is(whole: pandas.DataFrame) -> None:
    assert set(narrowed(whole, test="brats")["test"]) >= {"brats", "brats20", "brats21"}
    assert set(narrowed(whole, test="ISLES22", metric="dice")["metric"]) == {"DSC"}
    assert set(narrowed(whole, method="vae")["label"]) == {
        "VAE", "spatial VAE", "VAE 2-D", "VAE 3-D with spatial erasing", "VAE restoration", "FDP + VAE",
    }  # fmt: skip
    assert set(narrowed(whole, contrast="not stated")["contrast"]) == {""}
    with pytest.raises(UserError, match="--family NN fits none of the 467 .* expected one of AE, GAN,"):
        narrowed(whole, family="NN")


@pytest.mark.parametrize(
    ("metric", "averaging", "threshold", "expected"),
    [
        ("AP", "mean", "", "mean AP"),
        ("DSC", "pooled", "oracle", "best-threshold Dice (oracle)"),
        ("DSC mean", "mean", "val", "mean Dice @ validation threshold"),
        ("DSC", "", "", "Dice, threshold rule not stated, averaging not stated"),
        ("AUROC slice", "", "", "slice-level AUROC"),
        ("relative change of AP", "", "", "relative change of AP"),
    ],
)
def test_metrics_in_words(metric: str, averaging: str, threshold: str, expected: str) -> None:
    assert words.quantity(metric, averaging, threshold) == expected


@pytest.mark.parametrize(
    ("value", "like", "text"), [(0.5, 0, "0.500"), (0.1465, 0, "0.1465"), (0.288, 0.0192, "0.2880")]
)
def test_values_have_the_digits_that_were_printed(value: float, like: float, text: str) -> None:
    assert words.shown(value, like) == text


def test_what_is_missing_is_said(whole: pandas.DataFrame) -> None:
    said = " ".join(findings.findings(whole))
    assert "No published AP for stroke and for small vessel disease." in said
    assert "DAE on ISLES 2022 0.3129, then 0.1465" in said
    assert re.search(r"6 of \d+ Dice values are printed with", said)
    with_ap = pandas.concat([whole, whole[whole["metric"] == "AP"].assign(kind="stroke")])
    assert "No published AP for small vessel disease." in findings.findings(with_ap)


# ---- formats -----------------------------------------------------------------------------------


def test_csv_and_json_have_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = list(csv.DictReader(io.StringIO(command("--by", "test", "--format", "csv"))))
    facts = json.loads(command("--by", "test", "--format", "json"))
    assert len(rows) == len(facts) == len(published.read_figures())
    assert all(row["source"] and float(row["value"]) == fact["value"] for row, fact in zip(rows, facts))  # noqa: B905
    assert not list(tmp_path.iterdir())


def test_cells_carry_their_values_and_sources() -> None:
    cells = json.loads(command("--format", "json"))
    assert all(cell["n"] == len(cell["values"]) and cell["values"][0]["cited"] for cell in cells)
    rows = list(csv.DictReader(io.StringIO(command("--format", "csv"))))
    assert [int(row["n"]) for row in rows] == [cell["n"] for cell in cells]


@pytest.mark.parametrize("by", views.BY)
def test_markdown_tables_are_rectangular(by: str) -> None:
    text = command("--by", by, "--format", "markdown")
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "## Sources" in text
    assert "## What is missing" in text


@pytest.mark.parametrize("by", views.BY)
def test_latex_is_balanced_and_as_wide_as_the_text(by: str) -> None:
    text = command("--by", by, "--format", "latex")
    assert text.isascii()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for name in ("table*", "tabular", "longtable"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    for preamble in re.findall(r"\\begin\{(?:tabular|longtable)\}\{(.*)\}", text):
        shares = [float(share) for share in re.findall(r"p\{([.\d]+)\\uadwidth\}", preamble)]
        assert sum(shares) == pytest.approx(1, abs=0.005)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) > 20


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("by", views.BY)
def test_a_terminal_shows_every_name_within_its_width(
    whole: pandas.DataFrame, by: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = views.by_test(whole) if by == "test" else [views.overview(whole), *views.by_family(whole)]
    console = Console(width=width, file=io.StringIO(), highlight=False)
    monkeypatch.setattr(screen, "console", console)
    formats.print_comparison(sheets, findings.summary(whole), findings.findings(whole))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ("Left out at 80 columns: family." in text) == (by == "test" and width == 80)
    together = re.sub(r"\s+", "", text)
    assert all(re.sub(r"\s+", "", name) in together for name in ("pDDPM-IQA", "RD", "Disyre"))
    assert "diffusio\n" not in text


def test_filters_of_the_command_and_its_mistakes(tmp_path: Path) -> None:
    arguments = ["--test", "isles22", "--method", "dae", "--by", "test", "--output", str(tmp_path / "a.md")]
    command(*arguments, "--format", "markdown")
    text = (tmp_path / "a.md").read_text()
    assert "0.3129\\*" in text
    assert "0.1465\\*" in text
    assert "What is missing" not in text, "a part of the collection lacks what the filters took away"
    for wrong in (["--by", "sex"], ["--format", "html"], ["--metric", "FROC"]):
        done = CliRunner().invoke(app, ["published", *wrong])
        assert isinstance(done.exception, UserError)
        assert "expect" in str(done.exception)


def test_words_a_reader_should_not_meet_are_not_there() -> None:
    text = command() + command("--by", "test")
    for word in ("persons", "regime", "DSC", "known are", " anew", "T1ce"):
        assert word not in text
