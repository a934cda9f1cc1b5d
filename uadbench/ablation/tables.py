"""The report of an ablation in words, tables and numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uadbench.ablation.verdicts import Answer, Report, shown_interval
from uadbench.evaluation.uncertainty import Interval
from uadbench.system.files import write_json, write_text


def write(report: Report, folder: Path) -> Path:
    """Write the tables as Markdown and all numbers as JSON; the path of the former."""
    write_text(folder / "ABLATIONS.md", markdown(report))
    write_json(folder / "ablations.json", _plain(asdict(report)))
    return folder / "ABLATIONS.md"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(value: Any) -> Any:
    """Numbers that JSON can hold, at 6 decimals."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key or "all": _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def markdown(report: Report) -> str:
    """The report in words and tables."""
    asked = report.asked
    people = "" if report.limit is None else f", at most {report.limit} subjects a partition"
    lines = [
        f"# Ablations of {asked.method}",
        "",
        f"Full model: preset {report.preset}, seed {report.seed}, trained on "
        f"{' and '.join(asked.train_contrasts)}, tested on {report.dataset}{people}. AP is pooled over "
        f"voxels after the headline profile; the difference is full model less variant with a 95 % paired "
        "bootstrap interval over subjects. DSC 1% is Dice at 1 % false positives on healthy-val. One seed: "
        "what another seed would change is not in the intervals.",
        "",
    ]
    if report.dataset == "phantom":
        lines += ["The phantom checks mechanics: ranks on it are no evidence about brains.", ""]
    for ablation in asked.ablations:
        answers = [answer for answer in report.answers if answer.letter == ablation.letter]
        if answers:
            lines += [f"## {ablation.letter}: {ablation.question}", "", *_tables(answers)]
    if report.checks:
        lines += ["## Checks of what was learned", "", *_checks_table(report)]
    return "\n".join(lines) + "\n"


def _tables(answers: Sequence[Answer]) -> list[str]:
    """Comparisons and verdicts of one question."""
    header = ["variant", "contrast", "AP full", "AP variant", "difference", "DSC 1% full", "DSC 1% variant"]
    header += ["healthy L1 full", "healthy L1 variant"]
    lines = [_line(header), _line(["---"] * 2 + ["---:"] * (len(header) - 2))]
    for answer in answers:
        for one in answer.comparisons:
            pairs = [(one.full[key], one.variant[key]) for key in ("dice", "healthy_l1")]
            cells = [answer.variant.name, one.contrast, _shown(one.full["ap"]), _shown(one.variant["ap"])]
            cells += [shown_interval(one.ap[""]), *[_shown(value) for pair in pairs for value in pair]]
            lines.append(_line(cells))
    lines.append("")
    for answer in answers:
        if answer.skipped:
            lines.append(f"- {answer.variant.name}: skipped, {answer.skipped}.")
        for verdict in answer.verdicts:
            word = {True: "**pass**", False: "**fail**", None: "not decided"}[verdict.passed]
            numbers = "; ".join(verdict.numbers)
            lines.append(f"- {word}, {verdict.variant}: {verdict.rule.text} ({numbers})")
    return [*lines, ""]


def _checks_table(report: Report) -> list[str]:
    """Checks of the full model and of the variants that were fitted anew."""
    columns: dict[str, Mapping[str, float]] = {"full model": report.checks}
    for answer in report.answers:
        if answer.checks and all(answer.checks is not seen for seen in columns.values()):
            columns[f"{answer.letter}: {answer.variant.name}"] = answer.checks
    lines = [_line(["check", *columns]), _line(["---", *["---:"] * len(columns)])]
    for name in report.checks:
        lines.append(_line([name, *[_shown(values.get(name)) for values in columns.values()]]))
    return [*lines, ""]
