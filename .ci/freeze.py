"""Freeze the leaderboard of the committed records as CSV and JSON in results/, so that it can be cited."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uadbench import __version__
from uadbench.experiment.collect import collect_records, is_public
from uadbench.report import formats, sheets
from uadbench.report.evidence import resamples_for
from uadbench.report.leaderboard import Table, tables

RESULTS = Path(__file__).resolve().parent.parent / "results"
DIGITS = 6  # more would differ from one machine to another


def main() -> None:
    """Write both files."""
    records = collect_records(RESULTS, is_public).records
    found = tables(records, resamples=resamples_for(len(records)))
    commit, date = git("rev-parse", "HEAD"), git("show", "-s", "--format=%cs", "HEAD")
    for name, text in frozen(found, commit, date).items():
        (RESULTS / name).write_text(text, encoding="utf-8")


def git(*arguments: str) -> str:
    """What git says of the checkout."""
    return subprocess.run(
        ["git", *arguments], cwd=RESULTS, check=True, capture_output=True, text=True
    ).stdout.strip()


def frozen(found: Sequence[Table], commit: str, date: str) -> dict[str, str]:
    """Both files by name: every row of the tables with the version of the program, commit and date.

    The commit is the one whose code and records made the files, and the date is that commit's.
    """
    rows = [{name: rounded(value) for name, value in row.items()} for row in formats.rows(found)]
    facts: Mapping[str, Any] = {"version": __version__, "date": date, "commit": commit}
    whole = {
        "title": "Leaderboard of uadbench, a benchmark of unsupervised anomaly detection in brain MRI",
        **facts,
        "metric_versions": sorted({table.metric_version for table in found}),
        "rows": rows,
    }
    return {
        "LEADERBOARD.csv": sheets.csv([{**facts, **row} for row in rows]),
        "LEADERBOARD.json": json.dumps(whole, indent=1, ensure_ascii=False) + "\n",
    }


def rounded(value: Any) -> Any:
    """A number with as many digits as every machine gives alike."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}")


if __name__ == "__main__":
    main()
