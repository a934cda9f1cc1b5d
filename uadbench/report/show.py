"""Show: everything the commands print on a terminal."""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable

from uadbench import datasets as dataset_modules
from uadbench.cards import DatasetCard, MethodCard
from uadbench.data.session import LeftOut
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths
from uadbench.system.text import escape, visible

if TYPE_CHECKING:  # the lists of methods and data sets come at once: nothing heavy is loaded for them
    from uadbench.experiment.predict import Prediction
    from uadbench.experiment.prepare_dataset import Preparation
    from uadbench.experiment.run import Outcome
    from uadbench.preprocessing.verify import Report
    from uadbench.report import leaderboard as board
    from uadbench.report.listing import Listing
    from uadbench.report.regress import Change
    from uadbench.report.statistics import Comparison

# Output that goes to a file or a pipe is as wide as it needs to be, or as COLUMNS says.
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 220)


def _note(text: str) -> None:
    """A line of text, folded, with nothing in it but what is seen."""
    console.print(visible(text), style="dim", markup=False)


def _table(*headers: str, numbers_from: int | None = None) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for position, header in enumerate(headers):
        right = numbers_from is not None and position >= numbers_from
        table.add_column(escape(header), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _facts(facts: Sequence[tuple[str, str]]) -> None:
    table = _table("", "")
    table.show_header = False
    for name, value in facts:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(table)


def outcomes(done: "Sequence[Outcome]") -> None:
    """The rows of finished runs, and where their files lie."""
    from uadbench.experiment.record import Stored
    from uadbench.report import leaderboard as board

    leaderboard(board.tables([Stored(outcome.record, outcome.path) for outcome in done]), [])
    for outcome in done:
        again = "not here; --force makes them"
        pictures = outcome.pictures[0].parent if outcome.pictures else again
        lines = {
            "record": str(outcome.path) + (" (was there already)" if outcome.reused else ""),
            "maps": str(outcome.maps) if outcome.maps.is_dir() else again,
            "pictures": str(pictures),
        }
        _line(f"\n{outcome.record.method}", style="bold")
        for name, value in lines.items():
            _line(f"  {name:<9} {value}")
        flagged = {p: n for p, n in outcome.record.preparation.flagged.items() if n}
        if flagged:
            _line(f"  flagged   scans of {_plain(flagged)}: `uadbench prepare` draws the contact sheets")
        _by_reason("  left out ", [LeftOut(item.id, item.reason) for item in outcome.record.excluded])


def _by_reason(begin: str, items: Iterable[LeftOut]) -> None:
    """Whom something is said about, by what is said: how many and the first of them."""
    for words, _ in dataset_modules.by_reason(items):
        _line(f"{begin} {words}")


def _line(text: str, style: str | None = None) -> None:
    """One line as it is: not wrapped, so that a path can be copied."""
    lines = "\n".join(map(visible, text.split("\n")))
    console.print(lines, style=style, markup=False, highlight=False, soft_wrap=True)


WIDE = 130  # characters from which all columns of a listing fit


def _width(lines: Sequence[Sequence[str]]) -> int:
    """How many characters a table of these lines takes."""
    return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True))


def leaderboard(
    found: "Sequence[board.Table]",
    failed: Sequence[tuple[str, str]],
    left_out: Sequence[tuple[str, str]] = (),
) -> None:
    """All tables; on a narrow screen the main columns only. Then what failed, and what does not count."""
    from uadbench.report import formats

    hidden: dict[str, None] = {}
    for table in found:
        columns = list(table.columns)
        if _width([formats.headers(table, columns), *formats.cells(table, columns)]) > console.width:
            columns = [column for column in columns if column.main]
        hidden |= {column.title: None for column in table.columns if column not in columns}
        console.print(f"\n[bold]{escape(table.title)}[/bold]")
        shown = _table(*formats.headers(table, columns), numbers_from=formats.LEFT_FACTS)
        for row in formats.cells(table, columns):
            shown.add_row(*[escape(cell) for cell in row])
        console.print(shown)
        for note in formats.notes(table):
            _note(note)
    if hidden:
        _note(f"Not shown on a screen this narrow: {', '.join(hidden)}.")
    for place, reason in failed:
        _line(f"failed: {visible(place)}: {visible(reason)}")
    for line in formats.left_out_lines(left_out):
        _line(line)


LONG = ("source", "status", "regime")  # columns of a listing that a screen leaves out


def listings(found: "Sequence[Listing]") -> None:
    """Listings with their notes; without their long columns where these would fold the others."""
    left_out: dict[str, None] = {}
    for listing in found:
        console.print(f"\n[bold]{escape(listing.title)}[/bold]")
        hidden = LONG if console.width < WIDE else LONG[:1]
        paths = [place for place, name in enumerate(listing.headers) if name not in hidden]
        table = _table(*[listing.headers[place] for place in paths])
        for line in listing.lines:
            table.add_row(*[escape(line[place]) for place in paths])
        if listing.lines:
            left_out |= dict.fromkeys(name for name in listing.headers if name in hidden)
            console.print(table)
        for note in listing.remarks:
            _note(note)
    if left_out:
        names = ", ".join(left_out)
        console.print(
            f"Not shown on a screen: {names}; --format markdown has all.", style="dim", markup=False
        )


def changes(found: "Sequence[Change]") -> None:
    """What moved against the reference."""
    table = _table("row", "metric", "reference", "now", "tolerance", "", numbers_from=2)
    for change in found:
        if change.moved:
            verdict = "[red]REGRESSED[/red]" if change.regressed else "within tolerance"
            table.add_row(
                escape(change.row), change.metric, _precise(change.reference), _precise(change.fresh),
                f"{change.tolerance:g}", verdict,
            )  # fmt: skip
    moved, regressed = sum(c.moved for c in found), sum(c.regressed for c in found)
    if moved:
        console.print(table)
    console.print(f"{len(found)} metrics compared, {moved} moved, {regressed} regressed.")


def _precise(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"


def methods(cards: Sequence[MethodCard]) -> None:
    """All methods."""
    table = _table("method", "family", "trained", "year", "what it is")
    for card in cards:
        table.add_row(
            card.name, card.family, "yes" if card.trained else "no", str(card.year), escape(card.title)
        )
    console.print(table)


def method(card: MethodCard) -> None:
    """One method: its card, options and presets."""
    from uadbench.methods import load, options

    console.print(f"[bold]{card.name}[/bold]: {escape(card.title)}\n{escape(card.summary)}\n")
    marks = [
        name for name in ("trained", "template_space", "synthetic", "patient_slices") if getattr(card, name)
    ]
    _facts(
        [
            ("family", card.family),
            ("paper", f"{card.paper} ({card.year}), {card.link}"),
            ("reference code", card.reference_licence),
            ("input", card.input),
            ("marks", ", ".join(marks) or "none"),
        ]
    )
    console.print("\n[bold]differences from the paper[/bold]")
    for line in card.differences:
        console.print(f"  - {line}", markup=False)
    smaller = [preset for preset in card.preset if preset != "paper"]
    table = _table("option", "stage", "paper", *smaller, "what it is")
    for name, option in options(load(card)).items():
        paper = str(card.preset["paper"].get(name, option.default))
        values = [str(card.preset[preset].get(name, "")) for preset in smaller]
        table.add_row(name, option.metadata["stage"], paper, *values, escape(option.metadata["doc"]))
    console.print()
    console.print(table)
    if card.reported:
        reported = _table("trained on", "test", "contrast", "metric", "value", "source")
        for row in card.reported:
            reported.add_row(
                *[
                    escape(str(row.get(k, "")))
                    for k in ("train", "test", "contrast", "metric", "value", "source")
                ]
            )
        console.print("\n[bold]published figures[/bold]")
        console.print(reported)


def datasets(cards: Sequence[DatasetCard], paths: Paths) -> None:
    """All data sets, and how many of their subjects are here."""
    table = _table("data set", "role", "contrasts", "expected", "found", "access", "licence")
    for column in table.columns:
        column.no_wrap = column.header not in ("contrasts", "licence")  # what a narrow screen folds
    for card in cards:
        table.add_row(
            card.name, card.role, " ".join(card.contrasts), _range(card.expected), _found(card, paths),
            escape(_first(card.access)), escape(_first(card.licence)),
        )  # fmt: skip
    console.print(table)
    console.print(
        "Expected and found are subjects; `uadbench datasets NAME` says where to apply, the licence in full "
        "and the layout.",
        style="dim",
        markup=False,
    )


def _first(text: str) -> str:
    """The first clause of a sentence."""
    return re.split("[:;,]", text, maxsplit=1)[0]


def _range(counts: Mapping[str, int]) -> str:
    """From the least to the most subjects of the contrasts."""
    known = sorted(set(counts.values()))
    return "-".join(map(str, [known[0], *known[1:][-1:]])) if known else "unknown"


def _counts(counts: Mapping[str, int]) -> str:
    distinct = set(counts.values())
    if len(distinct) == 1:
        return str(distinct.pop())
    return ", ".join(f"{contrast} {count}" for contrast, count in counts.items()) or "unknown"


def _found(card: DatasetCard, paths: Paths) -> str:
    """How many subjects lie under the root, or why none."""
    root = paths.root(card.name)
    if not root.is_dir():
        return "makes itself" if dataset_modules.can_generate(card.name) else "no"
    drawn = paths.drawn(card.name) if dataset_modules.can_draw(card.name) else None
    if drawn is not None and not drawn.is_dir():
        return "drawn when needed"
    try:
        count = len(dataset_modules.find_sessions(card.name, root, drawn).sessions)
    except UserError:  # `verify` says what is the matter
        return "unusable"
    return f"{count} made up" if (root / dataset_modules.FIXTURE_NOTE).exists() else str(count)


def dataset(card: DatasetCard, paths: Paths) -> None:
    """One data set: its card."""
    console.print(f"[bold]{card.name}[/bold]: {escape(card.title)}\n{escape(card.summary)}\n")
    partners = "; ".join(f"{contrast} from {', '.join(names)}" for contrast, names in card.partners.items())
    labels = f"lesion {list(card.lesion_labels)}, ignored {list(card.ignore_labels)}. {card.label_meaning}"
    _facts(
        [
            ("role", f"{card.role}, {card.population}"),
            ("contrasts", ", ".join(card.contrasts)),
            ("space", card.space + (", skull-stripped" if card.skull_stripped else ", full head")),
            ("labels", labels),
            ("expected", _counts(card.expected)),
            ("found", f"{_found(card, paths)} under {paths.root(card.name)}"),
            ("get it at", f"{card.address} ({card.access})"),
            ("licence", card.licence + (f"; forbids {card.forbids}" if card.forbids else "")),
            ("layout", f"{card.layout} (confidence: {card.layout_confidence})"),
            ("tested from", partners or "no public healthy set of its contrasts"),
            ("split", _split(card)),
            ("protocol", card.protocol),
            ("cite", card.citation),
            *[("excluded", f"{name}: {reason}") for name, reason in card.exclusions.items()],
        ]
    )


def _split(card: DatasetCard) -> str:
    """How a data set is split, in words."""
    published = [f"{part}: {partition}" for part, partition in card.published_split.items()]
    fractions = [
        f"{group}-{name} {share:g}"
        for group, shares in (("healthy", card.healthy_split), ("lesion", card.lesion_split))
        for name, share in shares.items()
    ]
    by_hash = f"by the hash of the subject: {', '.join(fractions)}, the rest to test" if fractions else ""
    return "; else ".join([*([f"as published, {', '.join(published)}"] if published else []), by_hash])


def report(found: "Report") -> None:
    """What `verify` found."""
    table = _table("contrast", "expected", "found", "missing", "surplus", numbers_from=1)
    for row in found.counts:
        table.add_row(*[str(value) for value in row])
    console.print(table)
    _by_reason("left out:", found.left_out)
    for problem in found.problems:
        _line(f"problem: {problem}")
    _by_reason("remark:", [LeftOut(remark.subject_id, remark.reason) for remark in found.remarks])
    _line(found.verdict, style=None if found.ok else "red")


def prepared(made: "Preparation") -> None:
    """What `prepare` made."""
    table = _table("contrast", "grid", "prepared", "brains")
    for (contrast, on), count in made.counts.items():
        table.add_row(contrast, on, str(count), _plain(made.brains[contrast, on]))
    console.print(table)
    parts = _table("partition", "subjects", "persons", "sex", "site", "mean age", numbers_from=1)
    for partition, facts in made.balance.items():
        if facts["subjects"]:
            parts.add_row(
                partition, *[_plain(facts[k]) for k in ("subjects", "persons", "sex", "site", "mean_age")]
            )
    console.print(parts)
    _line(f"who is where: {made.split_list}")
    patients = made.balance["lesion-val"]["subjects"]
    if patients and not made.balance["lesion-test"]["subjects"]:
        _line(
            f"nobody to test on: all patients ({patients}) fall into lesion-val; "
            "`uadbench run --split all-test` tests on all of them, as a row of its own",
            style="yellow",
        )
    _by_reason("failed:", [LeftOut(f"{f.subject_id} {f.contrast}", f.reason) for f in made.failures])
    _by_reason("flagged (kept):", [LeftOut(f"{f.subject_id} {f.contrast}", f.reason) for f in made.flagged])
    for sheet in made.sheets:
        _line(f"contact sheet: {sheet}")
    _by_reason("left out:", made.left_out)
    _by_reason("remark:", [LeftOut(remark.id, remark.reason) for remark in made.remarks])


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(key))} {count}" for key, count in value.items())
    return "" if value is None else escape(str(value))


def doctor(paths: Paths) -> None:
    """The state of this installation."""
    import shutil

    import psutil

    from uadbench.cards import all_datasets
    from uadbench.system import environment

    device = environment.resolve_device("auto")
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    hardware = environment.hardware(device)
    records = len(list(paths.results.rglob("seed-*.json")))
    _facts(
        [
            *environment.packages().items(),
            ("processor", f"{hardware['processor']}, {hardware['cores']} cores"),
            ("device", str(hardware["device"])),
            ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
            ("disk", f"{disk.free / 2**30:.1f} GiB free here"),
            ("data", f"{paths.data} (UADBENCH_DATA)"),
            ("working files", f"{paths.runs} (UADBENCH_RUNS), {_size(paths.runs)}"),
            ("results", f"{paths.results} (UADBENCH_RESULTS), {records} records"),
            *[(f"data set {name}", _found(card, paths)) for name, card in all_datasets()[0].items()],
        ]
    )


def _size(folder: Path) -> str:
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{total / 2**30:.2f} GiB"


def prediction(found: "Prediction", out: Path) -> None:
    """What was said about one scan, and what speaks against believing it."""
    where = "unknown" if found.healthy_percentile is None else f"{found.healthy_percentile:.0f} %"
    _line(f"{found.method} {found.variant}, trained on {found.trained_on or 'nothing'}, {found.contrast}")
    if found.suspicious_ml is None:
        _line("  no mask: the record has no threshold; --point takes a number")
    else:
        _line(f"  suspicious volume {found.suspicious_ml:.1f} ml at {found.operating_point}")
    _line(f"  scan score {found.scan_score:.4g}; healthy test scans below it: {where}")
    for warning in found.warnings:
        _line(f"  warning: {warning}", style="yellow")
    _line(f"  {found.note}", style="dim")
    _line(f"  files under {out}")


def comparison(found: "Comparison") -> None:
    """Two records, figure by figure."""
    first, second = found.first, found.second
    console.print(
        f"A: {escape(first.method)} {escape(first.variant)} seed {first.seed}\n"
        f"B: {escape(second.method)} {escape(second.variant)} seed {second.seed}\n"
        f"{found.subjects} scans of {found.persons} subjects with lesions, the same for both"
    )
    if found.left_out:
        total = found.subjects + len(found.left_out)
        _note(f"Compared on {found.subjects} of {total} patients: only one of the two scored the others.")
    table = _table("figure", "A", "B", "A - B", "95 %", "p", "p (Holm)", numbers_from=1)
    for name, (a, b, interval, p) in found.differences.items():
        ends = f"{interval.low:+.3f} to {interval.high:+.3f}"
        table.add_row(
            name, f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}", ends, f"{p:.3f}", f"{found.corrected[name]:.3f}"
        )
    if found.wilcoxon is not None:
        corrected = found.corrected["wilcoxon"]
        table.add_row("own AP (Wilcoxon)", "", "", "", "", f"{found.wilcoxon:.3f}", f"{corrected:.3f}")
    console.print(table)
    if first.trained or second.trained or first.stochastic or second.stochastic:
        _note("One seed of each: what another seed would change is not in the intervals.")
