"""Fill in what README and docs repeat of the program: the table of results, the lists, what commands answer.

python .ci/readme.py             the table and the lists
python .ci/readme.py --answers   and the answers in all console blocks, which takes minutes
"""

import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blocks

from uadbench.cards import OWN, DatasetCard, all_datasets, all_methods
from uadbench.experiment.collect import collect_records, is_public
from uadbench.report import evidence, leaderboard
from uadbench.report.leaderboard import Row, Table

ROWS = 4  # of a table in the README, besides the baselines
BASELINES = ("random", "intensity", "pca", "atlas_z")  # protocol, rule 13
SIMULATED, IMPLANTED = "phantom", "implanted"
SETTINGS = {
    "cross": "trained on healthy volunteers of another cohort",
    "within": "trained on lesion-free slices of other patients of the same set",
    "synthetic": "trained on scans synthesised from segmentations",
    "none": "untrained methods only",
    SIMULATED: "simulated subjects",
    IMPLANTED: "lesions implanted in healthy scans",
}


def filled(text: str, parts: dict[str, str]) -> str:
    """The text with each part between its two markers."""
    for name, part in parts.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda found, part=part: f"{found[1]}\n{part}\n\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def shipped_datasets() -> dict[str, DatasetCard]:
    """The cards of all data sets but folders of scans that were named on this machine."""
    return {name: card for name, card in all_datasets()[0].items() if card.access != OWN}


def parts(tables: Sequence[Table]) -> dict[str, str]:
    """What is filled in, by marker."""
    methods, datasets = all_methods()[0], shipped_datasets()
    families: dict[str, list[str]] = {}
    for name, card in methods.items():
        families.setdefault(card.family, []).append(f"`{name}`")
    roles = {"lesion": "with lesions", "both": "with lesions and lesion-free data", "healthy": "healthy"}
    sets = {
        title: [f"`{n}` ({', '.join(c.contrasts)})" for n, c in datasets.items() if c.role == role]
        for role, title in roles.items()
    }
    return {
        "results": results(tables),
        "methods": _list(f"{len(methods)} methods", families),
        "datasets": _list(f"{len(datasets)} data sets", sets),
    }


def _list(title: str, groups: dict[str, list[str]]) -> str:
    return _wrapped(f"**{title}.** " + "; ".join(f"{n}: {', '.join(of)}" for n, of in groups.items()) + ".")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def committed() -> tuple[list[Table], list[tuple[Path, str]]]:
    """The tables of the committed records, and what was left out of them."""
    found = collect_records(blocks.ROOT / "results", is_public)
    drawn = evidence.resamples_for(len(found.records))
    return leaderboard.tables(found.records, resamples=drawn), list(found.left_out)


def results(tables: Sequence[Table]) -> str:
    """The first table: of patients where there is one, then of implanted lesions, then of the phantom."""
    first = min(tables, key=lambda table: (table.regime == SIMULATED, table.regime == IMPLANTED))
    return "\n".join([_wrapped(" ".join(_caption(first, tables))), "", *_table(first)])


def _caption(table: Table, tables: Sequence[Table]) -> list[str]:
    title = all_datasets()[0][table.test].title
    seeds = sorted({len(row.seeds) for row in table.rows})
    lines = [
        f"{title}; {table.contrast}; {SETTINGS[table.regime]}; "
        f"protocol `{table.protocol}`. "
        f"n = {table.subjects['lesion-test']} test subjects with lesions, "
        f"{' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'}. "
        f"AP of random scores (the prevalence): {_short(table.prevalence)}.",
    ]
    if table.regime == SIMULATED:
        lines.append(
            "**Simulated brains: this table tests the software and says nothing about patients.** "
            "No table of patients has been measured with this metric version yet."
        )
    else:
        others = sorted({one.test for one in tables} - {table.test})
        lines.append(
            f"Not shown yet: {', '.join(n for n in shipped_datasets() if n not in {t.test for t in tables})}."
            + (f" Other tables: {', '.join(others)}." if others else "")
        )
    if all(row.standing is None or row.standing.position is None for row in table.rows):
        lines.append("No row has a rank: no order is claimed from fewer than three seeds.")
    return lines


def _of_each_method(table: Table) -> list[Row]:
    """One row of each method, best first: a ranked one where there is one."""
    found: dict[str, Row] = {}
    for row in sorted(table.rows, key=lambda row: row.standing is None or row.standing.position is None):
        found.setdefault(row.method, row)
    return [row for row in table.rows if found[row.method] is row]


def _table(table: Table) -> list[str]:
    cards, rows = all_methods()[0], _of_each_method(table)
    best = [row for row in rows if row.method not in BASELINES][:ROWS]
    shown = [row for row in rows if row in best or row.method in BASELINES]
    head = [
        "| method | AP | AP 95 % CI | AUROC | Dice @ 1 % FPR | false alarms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines = [
        f"| {cards[row.method].title.split(':')[0]} (`{row.method}`) | {_short(row.numbers['ap'])} "
        f"| {_interval(row)} | {_short(row.numbers['auroc'])} | {_short(row.numbers['dsc_fpr1'])} "
        f"| {_short(row.numbers['alarms'])} |"
        for row in shown
    ]
    left = len(table.rows) - len(shown)
    more = f"{left} more rows and all columns: " if left else "All columns: "
    return [*head, *lines, "", f"{more}[results/LEADERBOARD.md](results/LEADERBOARD.md)."]


def _interval(row: Row) -> str:
    found = row.standing.intervals.get("ap") if row.standing else None
    return f"{_short(found.low)}–{_short(found.high)}" if found else ""  # noqa: RUF001


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def refresh(pages: Iterable[Path]) -> None:
    """Put what commands answer now into the console blocks of the pages."""
    for page in pages:
        text = page.read_text()
        if any(block.language == "console" for block in blocks.blocks(text)):
            with tempfile.TemporaryDirectory() as folder:
                page.write_text(blocks.refreshed(text, blocks.run_page(text, ("test", "slow"), Path(folder))))


def main() -> None:
    """Rewrite README and the files that pages show, and with --answers the console blocks of all pages."""
    for page in blocks.pages():
        page.write_text(blocks.refreshed(page.read_text(), blocks.files(page.read_text())))
    readme = blocks.ROOT / "README.md"
    readme.write_text(filled(readme.read_text(), parts(committed()[0])))
    if "--answers" in sys.argv:
        refresh(blocks.pages())


if __name__ == "__main__":
    main()
