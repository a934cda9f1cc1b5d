"""Cards of methods: one folder, one or several rows."""

from pathlib import Path

import pytest

from uadbench import methods
from uadbench.cards import method_card, method_names
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.errors import UserError

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
[preset.demo]
[preset.small]
[preset.paper]
[smoke]
width = 2
[[reported]]
train = "A"
[row.blur_more]
title = "Blur more"
set = { strength = 3.0 }
preset.ci = { width = 8 }
"""
CODE = """
from dataclasses import dataclass
from uadbench.methods import Method, fit_option, score_option

@dataclass
class Blur(Method):
    width: int = fit_option(16, "width")
    strength: float = score_option(1.0, "strength")

    def fit(self, train, val, context):
        return self

    def score(self, volume):
        raise NotImplementedError

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
    assert card.smoke == {"width": 2, "strength": 3.0}
    assert card.reported == (), "published figures belong to the row they were published for"
    assert method_card("blur_cards").set == {}


def test_rows_that_differ_in_scoring_share_what_a_fit_depends_on(plugins: Path) -> None:
    add(plugins, "blur_cards")
    first, second = methods.build("blur_cards", "demo"), methods.build("blur_more", "demo")
    assert methods.parameters(first, "fit") == methods.parameters(second, "fit")
    assert methods.parameters(second, "score") == {"strength": 3.0}
    assert methods.variant("blur_more", second, "demo") == "demo"
    assert methods.source_hash(method_card("blur_cards")) == methods.source_hash(method_card("blur_more"))


def test_two_folders_cannot_have_a_row_of_one_name(plugins: Path) -> None:
    add(plugins, "blur_cards")
    add(plugins, "blur_more", CARD.split("[row.")[0])
    with pytest.raises(UserError, match="both have a row 'blur_more'"):
        method_names()


def test_an_unknown_row_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="no method 'nothing'; there are: ae, "):
        method_card("nothing")
