"""Cards: a folder of methods has one or several rows; a wrong card says so and harms no other."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench import catalog, methods
from uadbench.cards import all_datasets, all_methods, dataset_card, method_card, method_names
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.cli import app
from uadbench.experiment.record import place_record
from uadbench.report.show_cards import find_runs, group_sources
from uadbench.system.errors import UserError

CARD = """
title = "Blur"
family = "AE"
summary = "Blurs."
paper = "None"
year = 2026
link = "-"
reference_licence = "-"
input = "-"
differences = []
[preset.ci]
grid = "g48"
width = 4
[smoke]
width = 2
[source]
width = "github.com/doe/blur, train.py: --width"
strength = "github.com/doe/blur, score.py: power"
[row.blur_more]
title = "Blur more"
source = { strength = "second hand: Roe 2021" }
set = { strength = 3.0 }
preset.ci = { width = 8 }
"""
CODE = """
from dataclasses import dataclass
from uadbench.methods import Method, Score, fit_option, score_option

@dataclass
class Blur(Method):
    width: int = fit_option(16, "width")
    strength: float = score_option(1.0, "strength")

    def fit(self, train, val, context):
        return self

    def score(self, volume):
        return Score(volume.image[0])

ENTRY = Blur
"""


def add(folder: Path, name: str, card: str = CARD) -> None:
    home = folder / "methods" / name
    home.mkdir(parents=True)
    (home / "card.toml").write_text(card)
    (home / "method.py").write_text(CODE)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path))
    (tmp_path / "methods").mkdir()
    return tmp_path


def test_a_row_has_the_facts_of_its_folder_and_over_them_its_own(plugins: Path) -> None:
    add(plugins, "blur_cards")
    assert {"blur_cards", "blur_more"} <= set(method_names())
    card = method_card("blur_more")
    assert (card.name, card.folder, card.title, card.summary) == (
        "blur_more",
        "blur_cards",
        "Blur more",
        "Blurs.",
    )
    assert card.preset["ci"] == {"grid": "g48", "width": 8, "strength": 3.0}
    assert card.preset["paper"] == {"strength": 3.0}, "what no table names is as in the code"
    assert card.smoke == {"width": 2, "strength": 3.0}
    assert method_card("blur_cards").set == {}
    assert card.source == {
        "width": "github.com/doe/blur, train.py: --width",
        "strength": "second hand: Roe 2021",
    }
    assert method_card("blur_cards").source["strength"] == "github.com/doe/blur, score.py: power"


def test_sources_are_told_file_by_file(plugins: Path) -> None:
    add(plugins, "blur_cards", CARD.replace("score.py: power", "train.py: --power"))

    shown = CliRunner().invoke(app, ["methods", "blur_cards"]).stdout

    assert "github.com/doe/blur, train.py: width (--width), strength (--power)" in " ".join(shown.split())
    assert group_sources({"width": "not found in train.py", "strength": "second hand: Roe"}) == {
        "not found in train.py": ["width"],
        "second hand": ["strength (Roe)"],
    }


def test_rows_that_differ_in_scoring_share_what_a_fit_depends_on(plugins: Path) -> None:
    add(plugins, "blur_cards")
    first, second = methods.build("blur_cards", "demo"), methods.build("blur_more", "demo")
    assert methods.parameters(first, "fit") == methods.parameters(second, "fit")
    assert methods.parameters(second, "score") == {"strength": 3.0}
    assert methods.variant("blur_more", second, "demo") == "demo"
    assert method_card("blur_cards").folder == method_card("blur_more").folder


def test_two_folders_cannot_have_a_row_of_one_name(plugins: Path) -> None:
    add(plugins, "blur_cards")
    add(plugins, "blur_more", CARD.split("[row.")[0])
    with pytest.raises(UserError, match="both have a row 'blur_more'"):
        method_card("blur_more")
    assert {"vae", "blur_cards"} <= set(method_names()), "the others are there"


def test_an_unknown_row_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="no method 'nothing'. Available: ae, "):
        method_card("nothing")


# ---- wrong ones --------------------------------------------------------------------------------

DATASET = (Path(__file__).parent / "plugins/datasets/balls/card.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('family = "AE"', 'family = "VEA"', "no family 'VEA' of .*card.toml; did you mean 'VAE'"),
        ('family = "AE"', "family = 3", "card.toml: family expects str, got 3"),
        ("year = 2026", 'year = "2026"', "card.toml: year expects int, got '2026'"),
        ("year = 2026", "year = 1e400", "year expects int, got inf"),
        ("year = 2026", "year = 20260", "year expects int <= 2100, got 20260"),
        ("year = 2026", "yaer = 2026", "no key 'yaer' of .*card.toml; did you mean 'year'"),
        ("year = 2026", "", "card.toml: it lacks year"),
        ("differences = []", 'differences = "none"', "differences expects list, got 'none'"),
        ("differences = []", "differences = [3]", r"differences\[0\] expects str, got 3"),
        ("[preset.ci]", "[preset.cii]", "no key of preset 'cii' .* did you mean 'ci'"),
        ("preset.ci = { width = 8 }", "preset = 8", r"\[row.blur_more\] of .* preset expects table, got 8"),
        ("set = { strength = 3.0 }", "set = 3", "set expects table, got 3"),
        ('source = { strength = "second hand: Roe 2021" }', "source = 3", "source expects table, got 3"),
        ('"github.com/doe/blur, train.py: --width"', "16", "card.toml: source expects str, got int"),
        ("set = { strength = 3.0 }", "set = { strength = 1979-05-27 }", "set expects .*, got date"),
        ('title = "Blur more"', 'title = "a\\u0007b"', "control characters, got '.x07'"),
        ('title = "Blur more"', 'title = "a\\nb"', "control characters, got '.n'"),
        ("[row.blur_more]", '[row."a/b"]', "a name expects letters, digits, _ and -, got 'a/b'"),
        ("differences = []", "differences = " + "[" * 30 + "]" * 30, "is not valid TOML: more than 20"),
        ("differences = []", "differences = " + "[" * 9999, "is not valid TOML"),
        ("year = 2026", "year = " + "9" * 5000, "is not valid TOML"),
        ("year = 2026", "year = ", "is not valid TOML"),
    ],
)
def test_a_wrong_card_says_file_key_expected_and_what_came(
    plugins: Path, old: str, new: str, said: str
) -> None:
    assert old in CARD
    add(plugins, "blur_cards", CARD.replace(old, new, 1))

    _, wrong = all_methods()

    assert len(wrong) == 1
    with pytest.raises(UserError, match=said):
        raise UserError(wrong[0])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('role = "both"', 'role = "ill"', "no role 'ill' of .* Available: both, healthy, lesion"),
        ('contrasts = ["T1", "T2"]', 'contrasts = ["t1"]', "no contrast 't1' .* did you mean 'T1'"),
        ('contrasts = ["T1", "T2"]', "contrasts = []", "contrasts expects list of length >= 1"),
        ('contrasts = ["T1", "T2"]', 'contrasts = ["T2"]', "expected names T1, which contrasts does not"),
        ('space = "MNI152"', 'space = "MNI"', "no space 'MNI' .* did you mean 'MNI152'"),
        ("train = 0.5", "train = 0.9", "shares of train and val that add up to 1 at most"),
        ("train = 0.5", "train = nan", r"healthy_split expects .*"),
        ("train = 0.5", "tarin = 0.5", "healthy_split expects shares of train and val"),
        ("T1 = 24", "T1 = -1", "expected expects int >= 0"),
        ("T1 = 24", "T1 = true", "expected expects int, got bool"),
        ("skull_stripped = true", "skull_stripped = true\nlesion_labels = [1, 1]", "one label two meanings"),
        ("skull_stripped = true", "skull_stripped = true\nlesion_labels = [0]", "int >= 1, got 0"),
        (
            "skull_stripped = true",
            "skull_stripped = true\nversion = 0",
            "version expects int >= 1, got 0",
        ),
        ("skull_stripped = true", 'skull_stripped = true\nanalyze_orientation = "LRS"', "one of each pair"),
    ],
)
def test_a_wrong_card_of_a_data_set_says_it_too(plugins: Path, old: str, new: str, said: str) -> None:
    (plugins / "datasets" / "wrong").mkdir(parents=True)
    assert old in DATASET
    (plugins / "datasets" / "wrong" / "card.toml").write_text(DATASET.replace(old, new, 1))

    with pytest.raises(UserError, match=said):
        dataset_card("wrong")
    assert "phantom" in all_datasets()[0]


def test_a_broken_card_is_named_and_the_others_are_shown(plugins: Path) -> None:
    for kind in ("methods", "datasets"):
        (plugins / kind / "broken").mkdir(parents=True)
        (plugins / kind / "broken" / "card.toml").write_bytes(b"title = '\xff\xfe'")
        shown = CliRunner().invoke(app, [kind])
        assert shown.exit_code == 1
        assert {"methods": "vae", "datasets": "phantom"}[kind] in shown.stdout
        assert "broken/card.toml is not valid TOML" in shown.stderr
    assert methods.build("vae", "ci")
    with pytest.raises(UserError, match="is not valid TOML"):
        method_card("broken")


def test_code_of_a_method_that_cannot_be_loaded_is_a_sentence(plugins: Path) -> None:
    add(plugins, "blur_code", CARD.split("[row.")[0])
    (plugins / "methods" / "blur_code" / "method.py").write_text("import no_such_package\n")
    with pytest.raises(UserError, match="code of method 'blur_code'.* ModuleNotFoundError: No module"):
        methods.build("blur_code", "ci")


@pytest.mark.parametrize("name", ["../datasets/phantom", ".", "..", "", "a/b", "x" * 5000, "a\0b", "\x07"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UserError, match="There is no data set"):
        catalog.locate("datasets", name)
    with pytest.raises(UserError, match="There is no method"):
        method_card(name)


def test_the_list_of_methods_says_what_was_run_on_what(tmp_path: Path) -> None:
    for path in (
        place_record("uad-1-2mm", "ixi", "mslub", "T1", "vae", "small,steps=9", 1),
        place_record("uad-1-2mm", "phantom", "phantom", "T1", "vae", "demo", 0),
        place_record("uad-1-2mm", "phantom", "phantom", "T2", "vae", "ci", 0),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert find_runs(tmp_path) == {"vae": "mslub small, phantom ci/demo"}
    assert find_runs(tmp_path / "nothing") == {}
