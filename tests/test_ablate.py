"""Ablations: variants run, compared and judged by rules written down before."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from uadbench.ablation.ablate import ablate, place
from uadbench.ablation.questions import Rule, Variant, read
from uadbench.ablation.tables import markdown, write
from uadbench.ablation.verdicts import Answer, Comparison, decide
from uadbench.cards import method_card
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment import record
from uadbench.experiment.plan import RunConfig, Runtime
from uadbench.system.errors import UserError

PLUGINS = Path(__file__).parent / "plugins"
CELL = RunConfig(method="brightness", dataset="balls", preset="ci")


def test_variants_are_run_compared_and_judged(runtime: Runtime) -> None:
    report = ablate(read("brightness"), CELL, runtime)
    dark, same, nothing = report.answers

    (compared,) = dark.comparisons
    assert (compared.full["ap"] or 0) > 0.5 > (compared.variant["ap"] or 1)
    assert set(compared.ap) == {"", "large", "small"}
    assert compared.ap[""].low > 0
    assert [verdict.passed for verdict in dark.verdicts] == [True, True, True]
    assert same.comparisons[0].ap[""] == (0, 0, 0)
    assert [verdict.passed for verdict in same.verdicts] == [False, True, True]
    assert report.checks["mean healthy"] == pytest.approx(0.5, abs=0.1)
    assert report.checks["mean lesion T1"] > report.checks["mean healthy"]
    assert "no method 'nothing'" in nothing.skipped
    assert not nothing.verdicts


def test_records_and_tables_lie_apart_from_the_leaderboard(runtime: Runtime) -> None:
    report = ablate(read("brightness"), CELL, runtime, letters=["a"])
    path = write(report, place(runtime, "brightness"))

    assert path == runtime.paths.results / "ablations" / "brightness" / "ABLATIONS.md"
    assert record.read_all(runtime.paths.results) == []
    assert len(record.read_all(path.parent)) == 2  # the full model, and the dark one; the same is the full
    text = path.read_text()
    assert "**pass**, dark: AP(full) > AP(variant)" in text
    assert "**fail**, the same" in text
    assert "mean healthy" in text
    assert markdown(report) == text
    numbers = json.loads(path.with_name("ablations.json").read_text())
    assert numbers["answers"][0]["comparisons"][0]["ap"]["all"]["difference"] == pytest.approx(
        report.answers[0].comparisons[0].ap[""].value, abs=1e-6
    )


def test_only_the_letters_asked_for_are_run(runtime: Runtime) -> None:
    assert {a.letter for a in ablate(read("brightness"), CELL, runtime, letters=["b"]).answers} == {"b"}
    with pytest.raises(UserError, match="no ablation .z. of brightness. There are: a, b"):
        ablate(read("brightness"), CELL, runtime, letters=["z"])


def test_a_method_without_ablations_says_so() -> None:
    with pytest.raises(UserError, match="random has no ablations"):
        read("random")


def test_the_questions_about_dal_r_are_well_formed() -> None:
    asked = read("dal_r")
    assert [one.letter for one in asked.ablations] == list("abcdefgkl")
    from uadbench import methods

    for ablation in asked.ablations:
        assert ablation.rules
        for variant in ablation.variants:
            if variant.method == "dal_r":
                methods.build("dal_r", "demo", variant.set)
        names = {variant.name for variant in ablation.variants}
        assert all(set(rule.variants) <= names for rule in ablation.rules)
        assert all(set(variant.contrasts) <= set(ablation.contrasts) for variant in ablation.variants)
    assert method_card("dal_r").synthetic


FULL = {"ap": 0.5, "ap mimic": 0.2, "healthy_l1": 0.11, "dice": None}
OTHER = {"ap": 0.4, "ap mimic": 0.3, "healthy_l1": 0.10, "dice": 0.3}
ONE = Comparison("T1", FULL, OTHER, {"": Interval(0.1, -0.01, 0.2), "mimic": Interval(-0.1, -0.2, -0.05)})


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"quantity": "ap", "test": "above"}, False),  # the interval holds 0
        ({"quantity": "ap", "test": "not_below"}, True),
        ({"quantity": "ap", "test": "not_below", "kind": "mimic"}, False),
        ({"quantity": "healthy_l1", "test": "within_factor", "value": 1.1}, True),
        ({"quantity": "healthy_l1", "test": "within_factor", "value": 1.05}, False),
        ({"quantity": "healthy_l1", "test": "below"}, False),
        ({"quantity": "ap", "test": "at_least", "value": 0.5}, True),
        ({"quantity": "ap", "test": "at_most", "value": 0.4}, False),
        ({"quantity": "dice", "test": "above"}, None),  # not known for the full model
        ({"quantity": "ap", "test": "above", "contrasts": ("T2",)}, None),  # nothing was run there
        ({"quantity": "copy rate", "test": "below"}, True),
        ({"quantity": "leakage", "test": "below"}, None),
    ],
)
def test_rules_by_hand(rule: dict[str, object], passed: bool | None) -> None:
    answer = Answer("a", Variant(name="v", method="m"), comparisons=[ONE], checks={"copy rate T1": 0.5})
    checks = {"copy rate T1": 0.4, "leakage": 0.1}
    assert decide(replace(Rule(text="", quantity="", test=""), **rule), answer, checks).passed is passed  # type: ignore[arg-type]


def test_a_variant_is_tested_on_its_own_contrasts_alone(runtime: Runtime) -> None:
    asked = read("brightness")
    question = asked.ablations[0]
    elsewhere = replace(question.variants[0], contrasts=("T2",))
    report = ablate(replace(asked, ablations=(replace(question, variants=(elsewhere,)),)), CELL, runtime)
    assert report.answers[0].comparisons == []
    assert report.answers[0].verdicts[0].passed is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('letter = "a"', "letter = 1", r"ablation\[0\].letter expects str, but 1 came"),
        ('test = "above"', 'test = "abov"', "no test 'abov' of .*ablations.toml; did you mean 'above'"),
        ('quantity = "ap"', 'quantty = "ap"', "no key 'quantty' of .*; did you mean 'quantity'"),
        ('contrasts = ["T1"]', 'contrasts = "T1"', "contrasts expects list, but 'T1' came"),
        ("set = { sign = -1.0 }", "set = 3", r"ablation\[0\].variant\[0\].set expects table, but 3 came"),
    ],
)
def test_a_mistake_in_the_questions_names_file_key_and_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    home = tmp_path / "methods" / "questions"
    shutil.copytree(PLUGINS / "methods" / "brightness", home)
    text = (home / "ablations.toml").read_text()
    assert old in text
    (home / "ablations.toml").write_text(text.replace(old, new, 1))
    monkeypatch.setenv("UADBENCH_PLUGINS", str(tmp_path))
    with pytest.raises(UserError, match=said):
        read("questions")
