"""What an author takes into a paper: tables in LaTeX, BibTeX, plots and comparisons by name."""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from uadbench.cards import DatasetCard, MethodCard, all_datasets, method_cards
from uadbench.cli import app
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.record import RunRecord, Stored
from uadbench.report import compare, latex, leaderboard, plot, published, references, wide
from uadbench.report.names import row_names
from uadbench.report.standings import Standing
from uadbench.system.errors import UserError
from uadbench.system.text import latex_text

KEY = re.compile(r"@\w+\{([\w:.-]+),")


@pytest.fixture
def table(implanted_records: list[Stored]) -> leaderboard.Table:
    """Three rows: intensity, pca, random."""
    (found,) = leaderboard.tables(implanted_records, resamples=200)
    return found


def command(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def cited(text: str) -> set[str]:
    return {key for group in re.findall(r"\\cite\{(.*?)\}", text) for key in group.split(",")}


# ---- BibTeX ------------------------------------------------------------------------------------


def test_every_entry_of_a_card_has_a_key_and_one_key_is_one_entry() -> None:
    known: dict[str, str] = {}
    cards: list[MethodCard | DatasetCard] = [*method_cards().values(), *all_datasets()[0].values()]
    for card in cards:
        assert len(references.entries(card)) == len(card.bibtex), card.name
        for key, entry in references.entries(card).items():
            assert entry.count("{") == entry.count("}") > 2
            assert "title = {" in entry
            assert known.setdefault(key, entry) == entry, f"{card.name} tells {key} otherwise"
    without = {name for name, card in method_cards().items() if not card.bibtex}
    unpublished = {"atlas_z", "edge_distance", "mean_residual", "pca", "random"}
    assert without == unpublished, "only what comes from no paper cites none"
    assert all(card.bibtex for card in all_datasets()[0].values())


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("results figure of github.com/zx-pan/MedAnomalyDetection-IQA", "zx-pan-medanomalydetection-iqa"),
        (
            "felime.github.io/publication/it (Meissen 2021)",
            "felime-github-io-publication-it",
        ),
        ("results of github.com/A/B (arXiv:2512.01534)", "arxiv-2512.01534"),
        ("RA (reversed auto-encoder, Bercea et al., MIDL 2023)", "ra-reversed-auto-encoder-bercea-et"),
    ],
)
def test_the_key_of_a_source_is_made_of_what_does_not_change(source: str, key: str) -> None:
    assert references.source_key(source) == key


def test_every_published_source_is_cited_once() -> None:
    texts = [figure.source for figure in published.read_figures()]
    found = references.of_sources(texts)
    together = references.bibtex(found)
    keys = KEY.findall(together)
    assert len(keys) == len(set(keys)) == len(found)
    of_cards = {
        "2512.21924": "yang2026dal", "1812.05941": "zimmerer2018context",
        "2403.08464": "bercea2024diffusion", "2109.06540": "bengs2021three",
    }  # fmt: skip
    for text in texts:
        card = next((key for number, key in of_cards.items() if number in text), None)
        assert (card or references.source_key(text)) in found, text
        assert card or latex_text(text) in together
    for path in ("published", "leaderboard"):
        assert "bibtex" in command(path, "--help")
    dal = command("published", "--method", "DAL", "--format", "bibtex")
    assert KEY.findall(dal) == ["yang2026dal"]


# ---- LaTeX -------------------------------------------------------------------------------------


def standing(best: bool, value: float) -> Standing:
    intervals = {"ap": Interval(value, value - 0.01, value + 0.01)}
    return Standing(intervals, position=1 if best else 3, best=best, ranks=(1, 3), p=0.5, few=False)


def with_best(table: leaderboard.Table, best: int) -> leaderboard.Table:
    """The table with its first rows as the best group."""
    rows = [
        dataclasses.replace(row, standing=standing(place < best, row.numbers["ap"] or 0.0), unranked="")
        for place, row in enumerate(table.rows)
    ]
    return dataclasses.replace(table, rows=tuple(rows))


def test_the_table_fits_the_text_and_every_line_has_its_columns(table: leaderboard.Table) -> None:
    text = latex.write_tables([table])
    made = latex._float(table, "interval", False, [])
    assert latex.NAME_WIDTH < made.width <= latex.TEXT_WIDTH
    count = len(re.search(r"X(r+)@\{\}\}", text)[1])  # type: ignore[index]
    assert count == len(made.headers) > 3
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 1 + len(table.rows)
    assert {line.count(" & ") for line in lines} == {count}
    assert text.isascii()
    braces = text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert braces.count("{") == braces.count("}")
    assert r"\label{tab:uadbench-phantom-t1}" in text
    assert "booktabs" in text.splitlines()[0]
    caption = re.search(r"\\caption\{(.*)\}\\label", text)[1]  # type: ignore[index]
    assert "n = 24" in caption
    assert len(caption.split()) < 30
    for name in ("Intensity after histogram equalisation", "PCA reconstruction", "Random scores"):
        assert name in text
    assert "95 " in text


def test_what_a_table_cites_is_in_the_bibtex_beside_it(table: leaderboard.Table) -> None:
    keys = cited(latex.write_tables([table]) + wide.write_latex([table]))
    assert keys == set(KEY.findall(references.of_tables([table])))
    assert {"meissen2021challenging", "fonov2011unbiased", "uadbench"} == keys


@pytest.mark.parametrize(("best", "bold"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_the_whole_best_group_is_bold_or_nothing(table: leaderboard.Table, best: int, bold: int) -> None:
    changed = with_best(table, best)
    for text in (latex.write_tables([changed]), wide.write_latex([changed])):
        assert text.count(r"\textbf{") == bold
        assert ("Bold: not significantly different" in text) == (bold > 0)


def test_columns_that_were_asked_for_and_do_not_fit_are_a_mistake(table: leaderboard.Table) -> None:
    with pytest.raises(UserError, match=r"would be \d+ pt wide, but the text of article has 345"):
        latex.write_tables([table], asked=True)


def test_seeds_have_a_mean_and_a_standard_deviation(demo_records: list[Stored]) -> None:
    one = next(stored for stored in demo_records if stored.record.method == "pca")
    profile = one.record.summary.profiles[one.record.headline]

    def seed(number: int, ap: float) -> Stored:
        profiles = {**one.record.summary.profiles, one.record.headline: replace(profile, ap=ap)}
        summary = replace(one.record.summary, profiles=profiles)
        return Stored(replace(one.record, seed=number, summary=summary), one.path)

    (table,) = leaderboard.tables([seed(0, 0.2), seed(1, 0.4)])
    text = latex.write_tables([table], spread="sd")
    assert r"0.300 {\scriptsize $\pm$ 0.141}" in text  # sqrt(((.1)^2 + (.1)^2) / 1)
    assert "standard deviation over seeds" in text
    assert "Means over 2 seeds" in text


def test_rows_of_one_method_say_what_tells_them_apart(table: leaderboard.Table) -> None:
    first, second, third = table.rows
    other = dataclasses.replace(first, variant="paper")
    changed = dataclasses.replace(table, rows=(first, other, second, third))
    assert row_names(changed) == [
        f"Intensity after histogram equalisation, {first.variant}",
        "Intensity after histogram equalisation, paper",
        "PCA reconstruction",
        "Random scores",
    ]


def test_methods_down_and_data_sets_across(table: leaderboard.Table) -> None:
    other = dataclasses.replace(table, contrast="T2", rows=table.rows[:2])
    sheet = wide.write_sheet([table, other])
    assert len(sheet.headers) == 3
    assert sheet.headers[1].startswith("phantom T1 (n = 24)")
    assert [bool(line[2]) for line in sheet.lines] == [True, True, False]
    text = wide.write_latex([table] * 4)
    assert re.search(r"X(r+)@", text)[1] == "rrrr"  # type: ignore[index]
    made = wide._float([table] * 4, "interval")
    assert made.width <= latex.TEXT_WIDTH
    assert len(made.lines) == 2 * len(table.rows), "intervals go below the values"
    assert all(all(line[1:]) for line in made.lines), "each data set has its values and intervals"
    with pytest.raises(UserError, match="fewer columns .* or data sets"):
        wide.write_latex([table] * 5)


def test_text_at_the_begin_of_a_line_is_no_argument_of_the_line_before() -> None:
    """`\\\\[95 %]` asks TeX for a distance of "95 %": pdflatex did not come to an end."""
    assert latex_text("[95 % CI]*") == r"{[}95 \% CI]{*}"


# ---- plots -------------------------------------------------------------------------------------


def test_mean_ranks_and_the_critical_difference_are_those_of_demsar() -> None:
    """Demšar, JMLR 7:1-30 (2006), section 3.2.2: CD = 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25 at 5 %."""
    values = np.tile([0.4, 0.3, 0.2, 0.1], (14, 1))
    values[0] = [0.1, 0.1, 0.3, 0.4]  # ranks 3.5, 3.5, 2, 1
    found = plot.rank_over_subjects(values)
    assert found.critical == pytest.approx(2.569 * np.sqrt(20 / 84), abs=5e-4)
    assert found.means == pytest.approx([(13 + 3.5) / 14, (26 + 3.5) / 14, (39 + 2) / 14, (52 + 1) / 14])
    assert found.p < 1e-4
    same = plot.rank_over_subjects(np.repeat(values[:, :1], 4, axis=1))
    assert (same.p, *same.means) == (1.0, 2.5, 2.5, 2.5, 2.5)


def test_bars_join_the_largest_groups() -> None:
    means = np.array([1.0, 1.5, 2.4, 4.0])
    assert plot._groups(means, 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert plot._groups(means, 0.1) == []
    assert plot._groups(means, np.inf) == [(1.0, 4.0)]


@pytest.mark.parametrize("kind", plot.KINDS)
def test_every_plot_is_written_with_fonts_and_without_a_date(
    kind: str, table: leaderboard.Table, tmp_path: Path
) -> None:
    for suffix, begin in ((".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG")):
        path = tmp_path / f"{kind}{suffix}"
        plot.write_plot(kind, table, path, 200)
        assert path.read_bytes().startswith(begin)
    text = (tmp_path / f"{kind}.svg").read_text()
    assert "n = 24" in text
    assert "PCA reconstruction" in text
    content = (tmp_path / f"{kind}.pdf").read_bytes()
    assert b"/FontFile2" in content, "TrueType, not Type 3"
    assert b"CreationDate" not in content
    again = tmp_path / "again.pdf"
    plot.write_plot(kind, table, again, 200)
    assert again.read_bytes() == content


def test_a_critical_difference_needs_methods_and_subjects(table: leaderboard.Table, tmp_path: Path) -> None:
    few = dataclasses.replace(table, rows=table.rows[:2])
    with pytest.raises(UserError, match="at least 3 methods and 20 subjects"):
        plot.write_plot("critical-difference", few, tmp_path / "a.pdf", 200)
    with pytest.raises(UserError, match=r"ends in .pdf, .svg, .png, got 'a.jpg'"):
        plot.write_plot("forest", table, tmp_path / "a.jpg", 200)
    with pytest.raises(UserError, match="KIND expects one of forest, "):
        plot.write_plot("pie", table, tmp_path / "a.pdf", 200)
    assert not list(tmp_path.iterdir())


def test_the_plot_command_takes_one_table(made_results: Path, tmp_path: Path) -> None:
    options = ["plot", "forest", "--output", str(tmp_path / "a.svg"), "--results", str(made_results)]
    assert "a.svg" in command(*options, "--preset", "ci", "--resamples", "200")
    assert (tmp_path / "a.svg").exists()
    done = CliRunner().invoke(app, options)  # nothing but ci is there
    assert isinstance(done.exception, UserError)
    assert "None of the 4 records" in str(done.exception)


# ---- compare -----------------------------------------------------------------------------------


def record_of(records: list[Stored], method: str) -> Stored:
    return next(one for one in records if one.record.method == method)


def test_two_names_are_compared_as_their_records_are(demo_records: list[Stored]) -> None:
    first, second = (record_of(demo_records, name) for name in ("intensity", "pca"))
    (by_name,) = compare.compare_methods(demo_records, "intensity", "pca")
    assert by_name == compare.compare_records(first.path, second.path)
    with pytest.raises(UserError, match="No test has records of both vae and pca; .* intensity, pca, random"):
        compare.compare_methods(demo_records, "vae", "pca")
    other = Stored(replace(second.record, variant="wide"), second.path)
    with pytest.raises(UserError, match="Expected one row of pca, got 2"):
        compare.compare_methods([*demo_records, other], "intensity", "pca")


def test_rows_of_one_method_are_told_apart_by_their_variants(demo_records: list[Stored]) -> None:
    one = record_of(demo_records, "pca")
    found = compare.compare_rows([one], [Stored(replace(one.record, variant="wide"), one.path)])
    assert compare.write_sheet(found).title.endswith(f": pca {one.record.variant} against pca wide")
    (row, *_) = compare.rows(found)
    assert (row["variant_a"], row["variant_b"]) == (one.record.variant, "wide")


def test_seeds_are_averaged_before_subjects_are_paired(demo_records: list[Stored]) -> None:
    def with_ap(stored: Stored, seed: int, more: float) -> Stored:
        made: RunRecord = stored.record
        subjects = [
            replace(s, ap={made.headline: (s.ap[made.headline] or 0.0) + more})
            if s.ap.get(made.headline)
            else s
            for s in made.subjects
        ]
        return Stored(replace(made, seed=seed, subjects=subjects), stored.path)

    one = record_of(demo_records, "pca")
    seeds = [with_ap(one, 0, 0.1), with_ap(one, 1, 0.3)]
    own = compare.own_ap([one.record])
    averaged = compare.own_ap([stored.record for stored in seeds])
    assert len(own) == 24
    assert averaged == {person: pytest.approx(value + 0.2) for person, value in own.items()}
    (found,) = compare.compare_methods([*seeds, record_of(demo_records, "random")], "pca", "random")
    assert len(found.first) == 2
    a, *_ = found.differences["ap_mean"]
    (alone,) = compare.compare_methods([one, record_of(demo_records, "random")], "pca", "random")
    assert a == pytest.approx(alone.differences["ap_mean"][0] + 0.2)


def test_a_row_is_compared_by_its_folder_over_all_its_seeds(
    demo_records: list[Stored], tmp_path: Path
) -> None:
    first, second = (record_of(demo_records, name).path.parent for name in ("pca", "random"))
    found = compare.compare_records(first, second)
    assert [one.record.seed for one in found.second] == [0, 1]
    of_seeds = [compare.compare_records(first, one.path).differences["ap_raw"][1] for one in found.second]
    assert found.differences["ap_raw"][1] == pytest.approx(sum(of_seeds) / 2)
    with pytest.raises(UserError, match=r"a folder with the records of one row \(seed-N.json\)"):
        compare.compare_records(tmp_path, second)


@pytest.mark.thorough
def test_compare_in_every_format_and_its_mistakes(made_results: Path) -> None:
    base = ["compare", "pca", "--against", "random", "--preset", "ci", "--results", str(made_results)]
    rows = list(csv.DictReader(io.StringIO(command(*base, "--format", "csv"))))
    parsed = json.loads(command(*base, "--format", "json"))
    assert [row["metric"] for row in rows] == [row["metric"] for row in parsed]
    assert {"ap_raw", "auroc", "own AP (Wilcoxon)"} <= {row["metric"] for row in rows}
    assert float(rows[0]["difference"]) == parsed[0]["value_a"] - parsed[0]["value_b"]
    for format_ in ("table", "markdown", "latex"):
        assert "24 scans of 24 subjects" in " ".join(command(*base, "--format", format_).split())
    path = str(next(made_results.rglob("pca/**/seed-0.json")))
    for wrong in (
        ["pca"],
        ["pca", "random", "--against", "vae"],
        ["pca", path],
        ["pca", "x", "--format", "html"],
    ):
        done = CliRunner().invoke(app, ["compare", *wrong])
        assert isinstance(done.exception, UserError)
        assert "xpected" in str(done.exception) or "expects" in str(done.exception)


# ---- the leaderboard's options -----------------------------------------------------------------


def test_the_options_of_the_leaderboard_for_papers(made_results: Path) -> None:
    base = ["leaderboard", "--preset", "ci", "--resamples", "0", "--results", str(made_results)]
    rows = json.loads(command(*base, "--method", "pca", "--format", "json"))
    assert {row["method"] for row in rows} == {"pca"}
    assert "uadbench," in command(*base, "--format", "bibtex")
    assert "Methods by data set" in command(*base, "--wide", "--format", "markdown")
    assert r"\label{tab:uadbench-wide}" in command(*base, "--wide", "--format", "latex")
    for wrong in (
        ["--spread", "range"],
        ["--wide", "--by", "cost"],
        ["--wide", "--format", "html"],
        ["--published", "--format", "bibtex"],
    ):
        done = CliRunner().invoke(app, [*base, *wrong])
        assert isinstance(done.exception, UserError), wrong


# ---- in a document -----------------------------------------------------------------------------

FIGURE = r"\begin{figure*}\includegraphics{%s}\end{figure*}"
DOCUMENT = r"""\documentclass[10pt%s]{article}
\usepackage{array,booktabs,longtable,tabularx,graphicx,url}
\begin{document}
Table~\ref{tab:uadbench-phantom-t1}.
\input{table}\input{wide}\input{sd}
%s
\bibliographystyle{plain}\bibliography{cited}
\end{document}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs TeX Live")
@pytest.mark.parametrize("columns", ["", ",twocolumn"])
def test_tables_plots_and_references_compile_within_the_text(
    columns: str, table: leaderboard.Table, tmp_path: Path
) -> None:
    ranked = with_best(table, 2)
    texts = {
        "table.tex": latex.write_tables([ranked]),
        "wide.tex": wide.write_latex([ranked] * 4),
        "sd.tex": latex.write_tables([dataclasses.replace(ranked, contrast="T2")], spread="sd"),
        "cited.bib": references.of_tables([table]),
        "paper.tex": DOCUMENT
        % (
            columns,
            "\n".join(rf"\begin{{figure*}}\includegraphics{{{kind}}}\end{{figure*}}" for kind in plot.KINDS),
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for kind in plot.KINDS:
        plot.write_plot(kind, table, tmp_path / f"{kind}.pdf", 200)
    for program in (["pdflatex", *TEX], ["bibtex"], ["pdflatex", *TEX], ["pdflatex", *TEX]):
        done = subprocess.run(
            [*program, "paper"], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=300
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "undefined" not in log
    assert "Warning--" not in (tmp_path / "paper.blg").read_text()


TEX = ("-interaction=nonstopmode", "-halt-on-error")
