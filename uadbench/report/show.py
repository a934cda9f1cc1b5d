"""Show: what the commands print on a terminal of records and of data."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uadbench import datasets as dataset_modules
from uadbench.data.implanted import ImplantedLesion
from uadbench.data.session import LeftOut
from uadbench.report.screen import print_line, print_sheets, print_table
from uadbench.system.text import visible

if TYPE_CHECKING:
    from uadbench.experiment.export_maps import Exported
    from uadbench.experiment.model import Model
    from uadbench.experiment.predict_folder import Predictions
    from uadbench.experiment.prediction import Prediction
    from uadbench.experiment.prepare_dataset import Preparation
    from uadbench.experiment.run import Outcome
    from uadbench.implant.inject import Injection
    from uadbench.preprocessing.verify import Report
    from uadbench.report.leaderboard import Table
    from uadbench.report.regress import Change


# ---- records -----------------------------------------------------------------------------------


def show_outcomes(done: "Sequence[Outcome]") -> None:
    """The rows of finished runs, and where their files lie."""
    from uadbench.evaluation.uncertainty import RESAMPLES
    from uadbench.experiment.record import Stored
    from uadbench.report.leaderboard import tables

    show_leaderboard(tables([Stored(one.record, one.path) for one in done], resamples=RESAMPLES))
    for outcome in done:
        again = "not here; --force makes them again"
        pictures = outcome.pictures[0].parent if outcome.pictures else again
        print_line(f"\n{outcome.record.method}", style="bold")
        print_line(f"  record    {outcome.path}{' (reused)' if outcome.reused else ''}")
        print_line(f"  maps      {outcome.maps if outcome.maps.is_dir() else again}")
        print_line(f"  pictures  {pictures}")
        if outcome.logs.is_dir():
            print_line(f"  training  tensorboard --logdir {outcome.logs}")
        if outcome.record.elsewhere is not None:
            print_line(f"  listings  {outcome.path.with_suffix('.subjects.csv')}")
            print_line(f"            {outcome.path.with_suffix('.lesions.csv')}")
            for remark in outcome.record.elsewhere.remarks:
                print_line(f"  remark    {remark}")
        flagged = {p: n for p, n in outcome.record.preparation.flagged.items() if n}
        if flagged:
            print_line(f"  flagged   scans of {_plain(flagged)}: `uadbench prepare` draws the contact sheets")
        _print_by_reason("  left out ", [LeftOut(item.id, item.reason) for item in outcome.record.excluded])


def _print_by_reason(begin: str, items: Iterable[LeftOut]) -> None:
    """Whom something is said about, by what is said: how many and the first of them."""
    for words in dataset_modules.by_reason(items):
        print_line(f"{begin} {words}")


def show_leaderboard(
    found: "Sequence[Table]",
    failed: Sequence[tuple[str, str]] = (),
    left_out: Sequence[tuple[str, str]] = (),
) -> None:
    """All tables, what failed, and what does not count."""
    from uadbench.report import formats, terminal

    print_sheets([terminal.sheet(table) for table in found])
    for place, reason in failed:
        print_line(f"failed: {visible(place)}: {visible(reason)}")
    for line in formats.left_out_lines(left_out):
        print_line(line)


def show_changes(found: "Sequence[Change]") -> None:
    """What moved against the reference."""

    def precise(value: float | None) -> str:
        return "none" if value is None else f"{value:.6f}"

    moved = [change for change in found if change.moved]
    if moved:
        headers = ("row", "metric", "reference", "now", "tolerance", "")
        lines = [
            (
                *(c.row, c.metric, precise(c.reference), precise(c.fresh), f"{c.tolerance:g}"),
                "REGRESSED" if c.regressed else "within tolerance",
            )
            for c in moved
        ]
        print_table(headers, lines, numbers_from=2)
    regressed = sum(change.regressed for change in found)
    print_line(f"{len(found)} metrics compared, {len(moved)} moved, {regressed} regressed.")


def show_prediction(found: "Prediction", out: Path) -> None:
    """What was said about one scan, and what speaks against believing it."""
    where = "unknown" if found.healthy_percentile is None else f"{found.healthy_percentile:.0f} %"
    trained_on = found.trained_on or "nothing"
    print_line(f"{found.method} {found.variant}, trained on {trained_on}, {found.contrast}")
    if found.suspicious_ml is None:
        print_line("  no mask: the record has no threshold; --point takes a number")
    else:
        print_line(f"  suspicious volume {found.suspicious_ml:.1f} ml at {found.operating_point}")
    print_line(f"  scan score {found.scan_score:.4g}; healthy test scans below it: {where}")
    for warning in found.warnings:
        print_line(f"  warning: {warning}", style="yellow")
    print_line(f"  {found.note}", style="dim")
    print_line(f"  files under {out}")


def show_predictions(found: "Predictions") -> None:
    """What was said about the scans of a folder, and which of them failed."""
    lines = [
        (name, _brief(one.suspicious_ml), f"{one.scan_score:.4g}", _brief(one.healthy_percentile))
        for name, one in found.done.items()
    ]
    if lines:
        headers = ("scan", "suspicious ml", "scan score", "% of healthy below")
        print_table(headers, lines, numbers_from=1)
    warned = [name for name, one in found.done.items() if one.warnings]
    shared = dict.fromkeys(w for one in found.done.values() for w in one.warnings)
    for warning in [w for w in shared if all(w in one.warnings for one in found.done.values())]:
        print_line(f"  warning of all scans: {warning}", style="yellow")
    if warned:
        print_line(f"  {len(warned)} scans have warnings, which predictions.csv lists", style="yellow")
    for name, reason in found.failures.items():
        print_line(f"failed: {name}: {reason}", style="red")
    done = f"{len(found.done)} scans done{f', {found.earlier} of them before' if found.earlier else ''}"
    print_line(f"{done}, {len(found.failures)} failed; files under {found.folder}")
    for one in list(found.done.values())[:1]:
        print_line(one.note, style="dim")


def _brief(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def show_exported(model: "Model", out: Path) -> None:
    """What a model file holds, and under which licences its data are."""
    facts = model.facts
    print_line(f"{facts.method} {facts.variant}, {facts.contrast}, on {facts.model_grid}: {out}")
    points = ", ".join(name for name, value in facts.thresholds.items() if value is not None)
    print_line(f"  {facts.n_parameters:,} parameters; thresholds: {points or 'none'}")
    for one in facts.sources:
        forbids = f"; not allowed: {one.forbids}" if one.forbids else ""
        print_line(f"  {one.name} ({one.use}): {one.licence}{forbids}")
    print_line(f"  {out.stat().st_size / 1e6:.1f} MB; next: uadbench predict {out} SCAN --out DIR")


def show_maps(made: "Exported") -> None:
    """How many maps were written, and which failed."""
    for name, reason in made.failures.items():
        print_line(f"failed: {name}: {reason}", style="red")
    counts = ", ".join(f"{name} {count}" for name, count in made.counts.items())
    print_line(f"maps under {made.folder}: {counts}")


# ---- data ---------------------------------------------------------------------------------------


def show_verified(found: "Report") -> None:
    """What `verify` found."""
    lines = [tuple(map(str, row)) for row in found.counts]
    print_table(("contrast", "expected", "found", "missing", "surplus"), lines, numbers_from=1)
    _print_by_reason("left out:", found.left_out)
    for problem in found.problems:
        print_line(f"problem: {problem}")
    _print_by_reason("remark:", [LeftOut(remark.subject_id, remark.reason) for remark in found.remarks])
    print_line(found.verdict, style=None if found.ok else "red")


def show_injection(made: "Injection") -> None:
    """What `inject` made: how near each size and contrast came to what was asked."""
    cells: dict[tuple[float, float | None], list[ImplantedLesion]] = {}
    for lesion in made.lesions:
        cells.setdefault((lesion.asked_ml, lesion.asked_contrast), []).append(lesion)
    lines = []
    for (ml, contrast), lesions in cells.items():
        sizes, ratios = ([getattr(one, name) for one in lesions] for name in ("ml", "contrast"))
        asked = "as grey matter" if contrast is None else f"{contrast:+g}"
        ends = f"{min(sizes):.3g} to {max(sizes):.3g}", f"{min(ratios):+.3g} to {max(ratios):+.3g}"
        lines.append((f"{ml:g}", asked, str(len(lesions)), *ends))
    print_table(("ml", "contrast-to-noise", "lesions", "ml measured", "contrast measured"), lines)
    _print_by_reason("left out:", made.left_out)
    print_line(f"{made.scans} scans under {made.folder}")


def show_prepared(made: "Preparation") -> None:
    """What `prepare` made."""
    counts = made.counts.items()
    lines = [(contrast, on, str(n), _plain(made.brains[contrast, on])) for (contrast, on), n in counts]
    print_table(("contrast", "grid", "prepared", "brains"), lines)
    facts = ("subjects", "persons", "sex", "site", "mean_age")
    parts = {partition: own for partition, own in made.balance.items() if own["subjects"]}
    print_table(
        ("partition", "scans", "subjects", "sex", "site", "mean age"),
        [(partition, *[_plain(own[name]) for name in facts]) for partition, own in parts.items()],
        numbers_from=1,
    )
    print_line(f"split list: {made.split_list}")
    patients = made.balance["lesion-val"]["subjects"]
    if patients and not made.balance["lesion-test"]["subjects"]:
        print_line(
            f"nobody to test on: all patients ({patients}) are in lesion-val; "
            "`uadbench run --split all-test` tests on all of them, as a row of its own",
            style="yellow",
        )
    for begin, items in (("failed:", made.failures), ("flagged (kept):", made.flagged)):
        _print_by_reason(begin, [LeftOut(f"{f.subject_id} {f.contrast}", f.reason) for f in items])
    for sheet in made.sheets:
        print_line(f"contact sheet: {sheet}")
    _print_by_reason("left out:", made.left_out)
    _print_by_reason("remark:", [LeftOut(remark.id, remark.reason) for remark in made.remarks])


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items())
    return "" if value is None else str(value)
