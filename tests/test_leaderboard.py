"""Tables from records; records are made by hand where the rule is about what may be compared."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from uadbench.errors import UserError
from uadbench.record import RunRecord
from uadbench.report import formats, leaderboard


def made(**change: Any) -> RunRecord:
    """A record of `vae` on the phantom, as far as the leaderboard looks."""
    ap = change.pop("ap", 0.3)
    points = {name: {"dsc": 0.4, "recall": 0.5} for name in ("oracle", "val", "fpr1", "fpr5")}
    profile = {"ap": ap, "ap_mean": ap / 2, "auroc": 0.9, "prevalence": 0.01, "points": points}
    facts: dict[str, Any] = {
        "protocol": "uad-1-2mm", "metric_version": 1, "regime": "phantom", "train": "phantom",
        "test": "phantom", "contrast": "T1", "train_contrasts": ["T1"],
        "method": "vae", "variant": "demo", "preset": "demo",
        "seed": 0, "limit": None, "precision": "float32", "parameters": {}, "n_parameters": 1,
        "splits": {"lesion-test": {"subjects": 3, "persons": 3, "hash": "a" * 64}}, "excluded": [],
        "data_fingerprint": "", "fit_hash": "", "score_hash": "", "code": {}, "packages": {}, "hardware": {},
        "timing": {}, "subjects": [], "thresholds": {}, "pieces": {},
        "summary": {
            "profiles": {"raw": profile, "baur5": profile}, "scan": {"auroc": 0.7},
            "subjects": {"lesion-test": 3},
        },
    }  # fmt: skip
    return RunRecord(**(facts | change))


@pytest.mark.parametrize(
    "difference",
    [
        {"protocol": "uad-1"},
        {"regime": "cross"},
        {"contrast": "T2"},
        {"metric_version": 2},
        {"test": "mslub"},
        {"splits": {"lesion-test": {"subjects": 3, "persons": 3, "hash": "b" * 64}}},
    ],
)
def test_two_numbers_that_may_not_be_compared_are_never_in_one_ranking(difference: dict[str, Any]) -> None:
    assert len(leaderboard.tables([made(), made(method="ae", **difference)])) == 2


def test_the_best_row_comes_first_and_a_blank_last() -> None:
    blank = made(method="blank")
    blank.summary["profiles"]["baur5"] = blank.summary["profiles"]["baur5"] | {"ap": None}

    (table,) = leaderboard.tables([made(method="low", ap=0.1), blank, made(method="high", ap=0.5)])

    assert [row.method for row in table.rows] == ["high", "low", "blank"]


def test_seeds_of_one_row_are_averaged() -> None:
    (table,) = leaderboard.tables([made(seed=0, ap=0.2), made(seed=1, ap=0.4)])

    (row,) = table.rows
    assert row.seeds == (0, 1)
    assert row.numbers["ap"] == pytest.approx(0.3)


def test_an_unknown_column_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="--sort expects one of ap, "):
        leaderboard.tables([made()], sort="beauty")


def test_markdown_csv_and_json_say_the_same() -> None:
    found = leaderboard.tables([made(ap=0.12345), made(method="ae", ap=0.5)])

    rows = list(csv.DictReader(io.StringIO(formats.csv(found))))
    parsed = json.loads(formats.as_json(found))
    text = formats.markdown(found)

    assert [float(row["ap"]) for row in rows] == [row["ap"] for row in parsed] == [0.5, 0.12345]
    assert "| 2 | vae | demo | phantom | 1 |  | 0.123 |" in text
    assert r"2 & vae & demo & phantom & 1 &  & 0.123 &" in formats.latex(found)


def test_the_phantom_is_said_to_be_no_evidence_about_brains() -> None:
    assert "no evidence about brains" in formats.markdown(leaderboard.tables([made()]))


def test_records_of_the_preset_ci_are_not_public() -> None:
    assert leaderboard.public(made())
    assert not leaderboard.public(replace(made(), preset="ci"))
