"""Show cards: what the commands print of methods, data sets and this installation.

The lists come at once: nothing heavy is loaded for them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from uadbench.cards import DatasetCard, Family, MethodCard
from uadbench.report.option_table import read_options
from uadbench.report.screen import (
    print_facts,
    print_heading,
    print_line,
    print_note,
    print_table,
)
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths

# ---- methods -----------------------------------------------------------------------------------


def show_methods(cards: Sequence[MethodCard], results: Path) -> None:
    """All methods, those of a family together, and with what presets they were run on what."""
    families, runs = get_args(Family), find_runs(results)
    cards = sorted(cards, key=lambda card: (families.index(card.family), card.name))
    lines = [
        (c.name, c.family, "yes" if c.trained else "no", str(c.year), runs.get(c.name, ""), c.title)
        for c in cards
    ]
    print_table(("method", "family", "trained", "year", "recorded runs", "what it is"), lines)


def find_runs(results: Path) -> dict[str, str]:
    """Of each method with records: the data sets it was tested on, each with its presets.

    The paths alone are looked at, which say it too (`record.place_record`): no record is read.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for path in results.glob("*/*-to-*/*/*/*/seed-*.json"):
        pair, _, method, variant = path.parts[-5:-1]
        test, preset = pair.rpartition("-to-")[2], variant.partition(",")[0]
        found.setdefault(method, {}).setdefault(test, set()).add(preset)
    return {
        method: ", ".join(f"{test} {'/'.join(sorted(presets))}" for test, presets in sorted(tests.items()))
        for method, tests in found.items()
    }


REQUIREMENTS = {
    "trained": "training",
    "template_space": "volumes in MNI152",
    "synthetic": "synthetic anomalies",
    "patient_slices": "lesion-free slices of patients",
}


def show_method(card: MethodCard) -> None:
    """One method: its card, options and presets, and what is published of it."""
    from uadbench.report.field import words
    from uadbench.report.published import figures_of

    _print_title(card)
    print_facts(
        [
            ("family", card.family),
            ("paper", f"{card.paper} ({card.year}), {card.link}"),
            ("reference code", card.reference_licence),
            ("input", card.input),
            (
                "requirements",
                ", ".join(words for name, words in REQUIREMENTS.items() if getattr(card, name)) or "none",
            ),
        ]
    )
    print_heading("differences from the paper")
    for line in card.differences:
        print_note(f"  - {line}", style="")
    print_line("")
    options = read_options(card)
    print_table(
        ("option", "stage", "default", "what it is"),
        [(name, one.stage, str(one.default), one.doc) for name, one in options.items()],
    )
    if card.source:
        print_heading("where public code has these values")
        for file, names in group_sources(card.source).items():
            print_note(f"  - {file}: {', '.join(names)}", style="")
    print_heading("values that differ in a preset")
    changed = [name for name in options if any(name in values for values in card.preset.values())]
    print_table(
        ("option", *card.preset),
        [(name, *[str(own.get(name, "")) for own in card.preset.values()]) for name in changed],
        numbers_from=1,
    )
    figures = figures_of(card.name)
    if figures:
        tests = ", ".join(sorted({words.test_set(figure.test) for figure in figures}))
        print_line("")
        print_note(
            f"{len(figures)} values are published of it, on {tests}: `uadbench published --by test "
            f"--method {card.name}` shows them with their sources.",
            style="",
        )


def group_sources(source: Mapping[str, str]) -> dict[str, list[str]]:
    """Options by the file that has their values, each with its name there."""
    grouped: dict[str, list[str]] = {}
    for option, place in source.items():
        file, _, name = place.partition(": ")
        grouped.setdefault(file, []).append(f"{option} ({name})" if name else option)
    return grouped


def _print_title(card: MethodCard | DatasetCard) -> None:
    print_line(f"{card.name}: {card.title}", style="bold")
    print_note(card.summary, style="")
    print_line("")


# ---- data sets ---------------------------------------------------------------------------------


def show_datasets(cards: Sequence[DatasetCard], paths: Paths) -> None:
    """All data sets, and how many of their subjects are here."""

    def first_clause(text: str) -> str:
        return re.split("[:;,]", text, maxsplit=1)[0]

    headers = ("data set", "role", "contrasts", "expected", "found", "access", "licence")
    lines = [
        (
            *(card.name, card.role, " ".join(card.contrasts), _range(card.expected), _found(card, paths)),
            *(first_clause(card.access), first_clause(card.licence)),
        )
        for card in cards
    ]
    print_table(headers, lines)
    print_note(
        "Expected and found are subjects; `uadbench datasets NAME` says where to apply, the licence in full "
        "and the layout."
    )


def _range(counts: Mapping[str, int]) -> str:
    """From the least to the most subjects of the contrasts."""
    known = sorted(set(counts.values()))
    return "-".join(map(str, [known[0], *known[1:][-1:]])) if known else "unknown"


def _counts(counts: Mapping[str, int]) -> str:
    if len(set(counts.values())) == 1:
        return _range(counts)
    return ", ".join(f"{contrast} {count}" for contrast, count in counts.items()) or "unknown"


def _found(card: DatasetCard, paths: Paths) -> str:
    """How many subjects are under the root, or why none."""
    from uadbench import datasets as dataset_modules  # its imports would take time from `methods`

    root = paths.root(card.name)
    if not root.is_dir():
        return "built in" if dataset_modules.can_generate(card.name) else "no"
    drawn = paths.drawn(card.name) if dataset_modules.can_draw(card.name) else None
    if drawn is not None and not drawn.is_dir():
        return "drawn when needed"
    try:
        count = len(dataset_modules.find_sessions(card.name, root, drawn).sessions)
    except UserError:  # `verify` says what is the matter
        return "unusable"
    return f"{count} simulated" if (root / dataset_modules.FIXTURE_NOTE).exists() else str(count)


def show_dataset(card: DatasetCard, paths: Paths) -> None:
    """One data set: its card."""
    _print_title(card)
    partners = "; ".join(f"{contrast} from {', '.join(names)}" for contrast, names in card.partners.items())
    labels = f"lesion {list(card.lesion_labels)}, ignored {list(card.ignore_labels)}. {card.label_meaning}"
    print_facts(
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
            ("trained on", partners or "no public healthy data set has its contrasts"),
            ("split", _split(card)),
            ("protocol", card.protocol),
            ("cite", card.citation),
            *[("excluded", f"{name}: {reason}") for name, reason in card.exclusions.items()],
        ]
    )


def _split(card: DatasetCard) -> str:
    """How a data set is split, in words."""
    published = ", ".join(f"{part}: {partition}" for part, partition in card.published_split.items())
    fractions = ", ".join(
        f"{group}-{name} {share:g}"
        for group, shares in (("healthy", card.healthy_split), ("lesion", card.lesion_split))
        for name, share in shares.items()
    )
    by_hash = f"by the hash of the subject: {fractions}, the rest to test" if fractions else ""
    return f"as published, {published}; else {by_hash}" if published else by_hash


def show_doctor(paths: Paths) -> None:
    """The state of this installation."""
    import shutil

    import psutil

    from uadbench.cards import all_datasets
    from uadbench.system import environment

    hardware = environment.hardware(environment.resolve_device("auto"))
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    used = sum(file.stat().st_size for file in paths.runs.rglob("*") if file.is_file())
    records = len(list(paths.results.rglob("seed-*.json")))
    print_facts(
        [
            *environment.packages().items(),
            ("processor", f"{hardware['processor']}, {hardware['cores']} cores"),
            ("device", str(hardware["device"])),
            ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
            ("disk", f"{disk.free / 2**30:.1f} GiB free here"),
            ("data", f"{paths.data} (UADBENCH_DATA)"),
            ("working files", f"{paths.runs} (UADBENCH_RUNS), {used / 2**30:.2f} GiB"),
            ("results", f"{paths.results} (UADBENCH_RESULTS), {records} records"),
            *[(f"data set {name}", _found(card, paths)) for name, card in all_datasets()[0].items()],
        ]
    )
