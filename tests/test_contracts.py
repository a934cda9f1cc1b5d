"""check-method and check-dataset: a line for each check, and an exit code that says whether all is well."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from uadbench import scaffold
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.cli import app
from uadbench.system.errors import UserError

BRIGHTNESS = Path(__file__).parent / "plugins/methods/brightness"
SCORE = "Score(self.sign * volume.image[0])"
Check = Callable[..., Result]


def uadbench(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def wrong(result: Result) -> list[str]:
    return [line for line in result.output.splitlines() if not line.startswith("passed: ")]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Change the smallest method there can be, and check it under another name."""
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path))

    def changed(
        name: str, before: str = "", after: str = "", edit: Callable[[str], str] = lambda text: text
    ) -> Result:
        home = tmp_path / "methods" / name
        home.mkdir(parents=True)
        for file in ("card.toml", "method.py"):
            (home / file).write_text(edit((BRIGHTNESS / file).read_text().replace(before, after)))
        return uadbench("check-method", name)

    return changed


def test_a_method_that_keeps_its_promises_passes(check: Check) -> None:
    result = check("dim", "# no change", "")

    assert (result.exit_code, wrong(result)) == (0, [])
    assert "passed: same seed gives the same map" in result.output


@pytest.mark.parametrize(
    ("name", "before", "after", "line"),
    [
        (
            "outside",
            SCORE,
            SCORE.replace("[0]", "[0] + 1"),
            "score map is well formed: Scores outside the brain have to be 0.",
        ),
        (
            "double",
            SCORE,
            SCORE.replace("[0]", "[0].astype(float)"),
            "score map is well formed: ValueError: The score map of double must be float32",
        ),
        (
            "endless",
            ", choices=(1.0, -1.0)",
            "",
            "numbers have a range: The option sign needs a lower and an upper end",
        ),
        (
            "torn",
            f"return {SCORE}",
            f"volume.image[0] *= 2\n        return {SCORE}",
            "scoring changes nothing: `score` changes the volume",
        ),
        (
            "unlike",
            "        return self\n",
            "        self.sign = float(__import__('random').SystemRandom().random())\n        return self\n",
            "same seed gives the same map: Fitted again with the same seed it gives another map.",
        ),
        (
            "silent",
            'summary = "The',
            'summary = "" # "The',
            "card is complete: card.toml says nothing of `summary`",
        ),
        (
            "borrowed",
            '"1: bright',
            "\"Doe 2020's code; 1: bright",
            "attributed values have a source: The option sign names someone's code: [source] has to say",
        ),
        (
            "vague",
            "trained = false",
            'trained = false\nsource = { sign = "the code" }',
            "attributed values have a source: [source] of sign expects `github.com/owner/name, file.py: ",
        ),
    ],
)
def test_a_broken_promise_is_one_sentence_and_exit_code_1(
    name: str, before: str, after: str, line: str, check: Check
) -> None:
    result = check(name, before, after)

    assert result.exit_code == 1
    assert any(one.startswith(f"failed: {line}") for one in wrong(result)), result.output
    assert len(result.output.splitlines()) == 17


def test_a_method_that_learns_little_is_warned_of_and_passes(check: Check) -> None:
    result = check("weak", "trained = false", "trained = true")

    assert result.exit_code == 0
    (line,) = wrong(result)
    assert line.startswith("warned: finds hidden lesions: Its average precision on hidden lesions, 0.0")


def test_a_reason_in_the_card_excuses_from_a_check(check: Check) -> None:
    reason = 'trained = true\n[exempt]\nfinds_hidden_lesions = "it sees nothing but brightness"\n'
    result = check("excused", "trained = false", reason)

    assert wrong(result) == ["excused: finds hidden lesions: it sees nothing but brightness"]


@pytest.mark.parametrize(
    "place",
    [
        "github.com/doe/bright, src/score.py: SIGN",
        "second hand: Roe 2021, table 2",
        "not found in the files that were read",
    ],
)
def test_a_value_of_someones_code_passes_with_its_source(place: str, check: Check) -> None:
    def source(text: str) -> str:
        return text.replace('"1: bright', "\"Doe's code; 1: bright").replace(
            "trained = false", f'trained = false\nsource = {{ sign = "{place}" }}'
        )

    result = check("sourced", edit=source)

    assert (result.exit_code, wrong(result)) == (0, [])


@pytest.mark.parametrize("table", ["source", "smoke"])
def test_a_table_of_options_names_no_other(table: str, check: Check) -> None:
    result = check("astray", "trained = false", f'trained = false\n{table} = {{ sing = "a/b, c: d" }}')

    assert isinstance(result.exception, UserError)
    assert f"no option 'sing' of astray ([{table}] of its card); did you mean 'sign'" in str(result.exception)


def test_names_and_code_that_are_no_good_are_the_users_mistakes(check: Check) -> None:
    for command in ("check-method", "check-dataset"):
        assert isinstance(uadbench(command, "nobody").exception, UserError)
    assert isinstance(check("spoilt", "import dataclass", "import datacless").exception, UserError)


def test_a_data_set_whose_card_and_files_disagree_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path))
    card = scaffold.write_template("datasets", "ours", tmp_path) / "card.toml"
    text = card.read_text().replace('contrasts = ["FLAIR"]', 'contrasts = ["T2"]')
    card.write_text(text.replace("FLAIR =", "T2 =").replace("labelmaps", "brats13"))
    result = uadbench("check-dataset", "ours")

    assert result.exit_code == 1
    assert wrong(result) == [
        "failed: partners are healthy and have the contrast: The partner brats13 has no healthy subjects.",
        "failed: fixture is what the adapter reads: card.toml does not list the contrasts FLAIR.",
    ]
