"""Tables of the leaderboard on a terminal: who is where can be read at any width."""

import dataclasses
from pathlib import Path

import pytest

from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.collect import collect_readable
from uadbench.report import formats, leaderboard, screen, show, terminal
from uadbench.report.standings import Standing

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (80, 100, 120, 200)


@pytest.fixture(scope="module")
def committed() -> list[leaderboard.Table]:
    """The table of the records of preset ci that come with the project."""
    found = collect_readable(ROOT / "results").records
    return leaderboard.tables(one for one in found if one.record.preset == "ci")


def with_standings(table: leaderboard.Table, best: int) -> leaderboard.Table:
    """The table with ranks, whose first `best` rows are not separable from the first."""
    rows = []
    for place, row in enumerate(table.rows):
        ap = row.numbers["ap"] or 0.0
        about = Interval(ap, max(ap - 0.1, 0.0), ap + 0.1)
        standing = Standing({"ap": about}, place + 1, place < best, (place + 1, place + 3), 0.5, False)
        rows.append(dataclasses.replace(row, standing=standing))
    return dataclasses.replace(table, rows=tuple(rows))


@pytest.fixture
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(screen.console, "width", request.param)
    return int(request.param)


@pytest.mark.parametrize("width", WIDTHS, indirect=True)
def test_every_rank_and_method_is_whole_on_its_own_line(
    width: int, committed: list[leaderboard.Table], capsys: pytest.CaptureFixture[str]
) -> None:
    table = with_standings(committed[0], 2)
    assert len(table.rows) >= 50
    show.show_leaderboard([table])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for rank, row in zip(formats.ranked(table), table.rows, strict=True):
        (line,) = [line for line in lines if line.split()[:2] == [rank, row.method]]
        for name in ("ap", "auroc", "dsc_fpr1"):  # in every width
            assert formats.shown(row.numbers.get(name)) in line.split()
        assert formats.spread(row, "ap") in line.split()
        assert formats.rank_range(row) in line.split()


@pytest.mark.parametrize("width", WIDTHS, indirect=True)
def test_each_column_is_in_the_table_or_above_it_or_named_as_left_out(
    width: int, committed: list[leaderboard.Table], capsys: pytest.CaptureFixture[str]
) -> None:
    full = terminal.sheet(with_standings(committed[0], 1))
    show.show_leaderboard([with_standings(committed[0], 1)])
    text = " ".join(capsys.readouterr().out.split())
    hidden = [name for name, needed in full.spare.items() if needed > width]
    assert ("Left out" in text) == bool(hidden)
    for name in hidden:
        assert name in text.partition("Left out")[2]
    assert "All rows: " in text
    assert "variant ci" in text
    assert "variant" not in full.headers


def test_a_number_that_all_rows_share_is_said_once(committed: list[leaderboard.Table]) -> None:
    rows = [dataclasses.replace(row, numbers={**row.numbers, "auroc": 0.5}) for row in committed[0].rows]
    made = terminal.sheet(dataclasses.replace(committed[0], rows=tuple(rows)))
    assert "AUROC" not in made.headers
    assert "AUROC 0.500" in made.lead
    made = terminal.sheet(dataclasses.replace(committed[0], rows=tuple(rows[:2])))
    assert "AUROC" in made.headers


def test_rows_of_one_method_are_told_apart_before_any_number(committed: list[leaderboard.Table]) -> None:
    row = committed[0].rows[0]
    rows = (row, dataclasses.replace(row, variant="ci,limit=3"))
    made = terminal.sheet(dataclasses.replace(committed[0], rows=rows))
    assert made.headers[:3] == ("#", "method", "variant")
    assert made.spare["variant"] == min(made.spare.values())


def test_the_whole_best_group_is_bold_or_nothing(committed: list[leaderboard.Table]) -> None:
    assert terminal.sheet(with_standings(committed[0], 3)).bold == {0, 1, 2}
    assert terminal.sheet(committed[0]).bold == frozenset()
    assert formats.ranked(with_standings(committed[0], 3))[:4] == ["1≈", "2≈", "3≈", "4"]
    assert formats.ranked(with_standings(committed[0], 1))[:2] == ["1", "2"]


@pytest.mark.parametrize("seed", range(5))
def test_a_rank_is_within_its_own_interval(seed: int) -> None:
    import numpy as np

    from uadbench.evaluation.uncertainty import mean
    from uadbench.report.standings import Kept, standings

    drawn = np.random.default_rng(seed)
    weights = drawn.multinomial(24, np.full(24, 1 / 24), 200)
    columns = [mean(list(drawn.uniform(0, 1, 24)), weights) for _ in range(8)]
    columns.sort(key=lambda one: -one.value)
    ids = tuple(map(str, range(24)))
    found = standings([Kept({}, one, ids, False) for one in columns], [True] * 8)
    for number, one in enumerate(found, 1):
        assert one.position == number
        assert one.ranks is not None
        assert one.ranks[0] <= number <= one.ranks[1]
    assert found[0].best
    assert found[0].p is None
