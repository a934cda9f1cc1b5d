"""Functions that read: load_volume, read_records, leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING

from uadbench.api.machine import find_paths, make_runtime

if TYPE_CHECKING:
    from pandas import DataFrame

    from uadbench.data.volumes import Volume
    from uadbench.experiment.config import Runtime


def load_volume(
    dataset: Path | str,
    session: str | None = None,
    contrast: str | None = None,
    grid: str | None = None,
    *,
    runtime: "Runtime | None" = None,
) -> "Volume":
    """One scan of a data set, prepared as a method is handed it.

    Args:
        dataset: one of `uadbench.datasets.names()`, or a folder of scans.
        session: id of the scan; None: the first that has the contrast.
        contrast: None: the first of the data set's card.
        grid: such as g96; None: the evaluation grid of the data set's protocol.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.

    Returns:
        `image` (1, R, A, S) float32 in [0, 1], exactly 0 outside the brain, and `brain` (R, A, S) bool.
    """
    from uadbench.cards import contrast_of
    from uadbench.data.space import EVALUATION
    from uadbench.data.volumes import Volumes
    from uadbench.experiment.config import find_dataset
    from uadbench.experiment.own import name_dataset
    from uadbench.preprocessing.prepare import prepare
    from uadbench.protocol import protocol
    from uadbench.system.errors import UserError, check_known

    runtime = runtime or make_runtime("cpu", workers=1)
    found = find_dataset(name_dataset(str(dataset), runtime, contrast), runtime)
    wanted = contrast_of(found.card, contrast) if contrast else found.card.contrasts[0]
    there = {one.id: one for one in found.with_contrast(wanted)}
    session = next(iter(there)) if session is None else session
    check_known("session", session, there, of=found.card.name)
    chosen = there[session]
    on = protocol(found.card.protocol).model_target(grid or EVALUATION)
    made = prepare([chosen], wanted, on, found.card, runtime.paths.cache, 1, runtime.progress)
    if made.failures:
        raise UserError(f"{chosen.id} could not be prepared: {made.failures[0].reason}")
    volume: Volume = Volumes(made.prepared, made.prepared[0].grid)[0]
    return volume


def read_records(results: Path | str | None = None) -> "DataFrame":
    """Every record below a folder that can be believed, one row each: what was run and its figures.

    Columns: the facts of the run, the columns of the leaderboard, and `path`. `attrs["left_out"]` names the
    files that do not count, each with the reason.
    """
    from pandas import DataFrame

    from uadbench.experiment.collect import collect_records
    from uadbench.report.leaderboard import numbers

    found = collect_records(find_paths(results).results)
    facts = (
        "protocol", "regime", "train", "test", "contrast", "method", "variant", "preset", "model_grid",
        "headline", "seed", "limit", "metric_version", "n_parameters",
    )  # fmt: skip
    rows = [
        {name: getattr(one.record, name) for name in facts} | numbers(one.record) | {"path": str(one.path)}
        for one in found.records
    ]
    frame = DataFrame(rows)
    frame.attrs["left_out"] = dict(found.left_out)
    return frame


def leaderboard(
    results: Path | str | None = None,
    *,
    dataset: str | None = None,
    contrast: str | None = None,
    preset: str | None = None,
    sort: str = "ap",
    resamples: int = 1000,
) -> "DataFrame":
    """The rows of all tables of the leaderboard, numbers averaged over seeds.

    Only rows of one `table` may be compared; `rank` is missing where no order can be claimed.

    Args:
        results: folder of the records; None: `results`, or what UADBENCH_RESULTS names.
        dataset: only this test set.
        contrast: only this contrast.
        preset: only this preset; None: all but ci.
        sort: column by which the rows of a table are sorted, best first.
        resamples: of the bootstrap over subjects, from which ranks come; 0: no ranks.
    """
    from pandas import DataFrame

    from uadbench.experiment.collect import collect_records, is_wanted
    from uadbench.report import leaderboard as board

    found = collect_records(find_paths(results).results, lambda r: is_wanted(r, dataset, contrast, preset))
    of_table = ("protocol", "regime", "test", "contrast", "headline")
    of_row = ("method", "variant", "model_grid", "trained_on")
    rows = [
        {"table": number}
        | {name: getattr(table, name) for name in of_table}
        | {"rank": row.standing.position if row.standing else None}
        | {name: getattr(row, name) for name in of_row}
        | {"seeds": len(row.seeds), "scored": row.scored, "excluded": row.excluded_count, **row.numbers}
        for number, table in enumerate(board.tables(found.records, sort, resamples))
        for row in table.rows
    ]
    return DataFrame(rows)
