"""What the command line offers before any work: one method at once, completion, what there is instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uadbench.cards import contrast_named, method_card, method_names
from uadbench.cli import app
from uadbench.experiment.config import Runtime
from uadbench.report import option_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", method_names())
def test_options_read_from_the_source_are_those_of_the_class(name: str) -> None:
    card = method_card(name)
    read, loaded = option_table.read_options(card), option_table._load_options(card)
    assert list(read.items()) == list(loaded.items())
    kind = option_table._class(f"uadbench.methods.{card.folder}.method", "ENTRY")
    assert kind.__mro__[-2].__name__ == "Method"  # it was read, not loaded


def test_code_that_cannot_be_read_so_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "methods" / "computed"
    folder.mkdir(parents=True)
    plugin = ROOT / "tests" / "plugins" / "methods" / "brightness"
    (folder / "card.toml").write_text((plugin / "card.toml").read_text())
    source = (plugin / "method.py").read_text()
    changed = source.replace("score_option(1.0", "score_option(float(1)")
    assert changed != source
    (folder / "method.py").write_text(changed)
    monkeypatch.setenv("UADBENCH_PLUGINS", str(tmp_path))
    assert option_table.read_options(method_card("computed"))["sign"].default == 1.0


@pytest.mark.parametrize("words", [["methods", "vae"], ["datasets", "lgg"]])
def test_one_method_or_data_set_is_shown_without_anything_heavy(runtime: Runtime, words: list[str]) -> None:
    heavy = "{'torch', 'monai', 'numpy', 'pandas', 'scipy', 'nibabel', 'matplotlib'}"
    code = (
        f"import sys; sys.argv = ['uadbench', *{words}]; from uadbench.cli import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert words[1] in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("run -m vae", {"vae", "vae3d", "vae_restoration"}),
        ("run -m vae -d wm", {"wmh17"}),
        ("run -m vae -d lgg --contrast ", {"FLAIR", "T1", "T1c"}),
        ("run -m vae --preset d", {"demo"}),
        ("run -m vae --set la", {"latent_dim="}),
        ("run -m nothing --set la", set()),
        ("methods fa", {"fae"}),
        ("datasets ms", {"mslub", "msseg16"}),
        ("check-method ddpm_", {"ddpm_onestep", "ddpm_onestep_simplex"}),
        ("leaderboard --by st", {"stratum"}),
    ],
)
def test_a_shell_completes_values(typed: str, offered: set[str]) -> None:
    words = ["uadbench", *typed.split(" ")]
    asked = {"_UADBENCH_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words)}
    done = subprocess.run(
        [sys.executable, "-c", "from uadbench.cli import app; app(prog_name='uadbench')"],
        capture_output=True, text=True, check=False,
        env=os.environ | asked | {"COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize("name", ["T1ce", "t1post", "T1Gd", "T1c"])
def test_t1_after_contrast_agent_is_known_by_its_other_names(name: str) -> None:
    assert contrast_named(name) == "T1c"


def test_the_help_of_every_command_is_a_whole_line() -> None:
    for command in app.registered_commands:
        if not command.hidden and command.callback is not None:
            first = (command.callback.__doc__ or "").split("\n")[0]
            assert 10 < len(first) <= 55, first
            assert first.endswith("."), first
