"""What is kept between runs: damage is found and made good, and what differs is named."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uadbench import source
from uadbench.data import prepared
from uadbench.data.space import GRIDS
from uadbench.evaluation import maps
from uadbench.experiment import fit, run
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.record import CIRCUMSTANCES, RunRecord, plain
from uadbench.system import environment
from uadbench.system.errors import UserError
from uadbench.system.files import read_json, write_json

CELL = RunConfig(method="brightness", dataset="balls", preset="ci")


def content(made: RunRecord) -> dict[str, Any]:
    return {key: value for key, value in plain(made).items() if key not in CIRCUMSTANCES}


def flip(path: Path, position: int) -> None:
    """Change one bit of a file whose times of change stay as they are, as far as that can be."""
    state, whole = path.stat(), bytearray(path.read_bytes())
    whole[position] ^= 1
    path.write_bytes(whole)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.usefixtures("finished")
def test_a_byte_that_changed_in_a_prepared_volume_or_its_header_is_found(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    first = run.run(CELL, runtime)
    volumes = sorted(runtime.paths.cache.glob("g48/*.safetensors"))
    flip(volumes[0], -100)
    flip(volumes[1], volumes[1].read_bytes().index(b"p99") + 8)
    assert [prepared.is_whole(path, GRIDS["g48"]) for path in volumes[:3]] == [False, False, True]

    again = run.run(CELL, runtime, force=True)

    assert content(again.record) == content(first.record)
    assert caplog.text.count("is damaged: prepared again") == 2


@pytest.mark.thorough
def test_side_files_that_are_empty_or_of_another_form_are_made_again(
    runtime: Runtime, tmp_path: Path
) -> None:
    config = replace(CELL, method="pca")
    first = run.run(config, runtime)
    write_json(runtime.paths.runs / "roots.json", {"ixi": str(tmp_path)})
    damaged = [path for path in runtime.paths.runs.rglob("*.json") if path.name != "owner.json"]
    assert {"roots.json", "files.json", "fit.json"} <= {path.name for path in damaged}
    for number, path in enumerate(damaged):
        path.write_bytes([b"", b"{}", b"[]", b'{"content": {}}', b'"text"'][number % 5])
    first.path.unlink()

    again = run.run(config, runtime)

    assert content(again.record) == content(first.record)
    assert runtime.paths.root("ixi") == runtime.paths.data / "ixi"


@pytest.mark.thorough
def test_a_fit_whose_state_has_changed_is_made_again_or_refused(runtime: Runtime) -> None:
    config = replace(CELL, method="pca")
    first = run.run(config, runtime)
    state = runtime.paths.fit(first.record.fit_hash) / "state.safetensors"
    flip(state, -5)

    with pytest.raises(UserError, match="is damaged: run the method again"):
        fit.read_state(first.record.fit_hash, runtime)
    first.path.unlink()
    shutil.rmtree(first.maps)
    assert content(run.run(config, runtime).record) == content(first.record)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("fits_are_there", [True, False])
def test_a_record_of_other_code_says_which(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, fits_are_there: bool
) -> None:
    run.run(CELL, runtime)
    if not fits_are_there:
        shutil.rmtree(runtime.paths.runs / "fits")
    real = source.hash_method_files
    changed = {"methods/brightness/method.py": "0", "uadbench/data/volumes.py": "1"}
    monkeypatch.setattr(source, "hash_method_files", lambda folder: real(folder) | changed)

    files = r" \(methods/brightness/method.py, uadbench/data/volumes.py\)" if fits_are_there else ""
    with pytest.raises(UserError, match=f"from a run that differs in code{files}.*; --force replaces it"):
        run.run(CELL, runtime)


@pytest.mark.usefixtures("finished")
def test_a_record_of_other_data_says_so(runtime: Runtime) -> None:
    run.run(CELL, runtime)
    data = runtime.paths.data / "balls"
    shutil.copy(data / "scan-20.nii", data / "scan-21.nii")
    shutil.copy(data / "lesion-20.nii", data / "lesion-21.nii")
    (data / "scan-22.nii").write_bytes((data / "scan-22.nii").read_bytes()[:-2] + b"ab")
    with pytest.raises(UserError, match=r"same image|differs in data \("):
        run.run(CELL, runtime)


def test_other_settings_code_and_people_of_a_fit_are_named() -> None:
    from uadbench.experiment.identity import differences

    now = {
        "method": "vae", "code": {"a.py": "1", "b.py": "2"}, "options": {"steps": 3}, "grid": "g96",
        "train": ["x", "y"], "val": ["z"], "preparation": "2", "seed": 0,
    }  # fmt: skip
    assert differences(now, now) == []
    assert differences(now | {"options": {"steps": 5}, "grid": "g48"}, now) == ["settings (steps, grid)"]
    assert differences(now | {"code": {"a.py": "0", "b.py": "2"}}, now) == ["code (a.py)"]
    assert differences(now | {"train": ["x", "w", "v"]}, now) == ["data (2 of healthy-train gone, 1 new)"]
    assert differences(now | {"preparation": "1", "seed": 4}, now) == [
        "data (preparation)",
        "settings (seed)",
    ]


@pytest.mark.thorough
def test_runs_that_share_maps_keep_a_list_of_scans_each(runtime: Runtime) -> None:
    config = replace(CELL, method="random")
    small, whole = run.run(replace(config, limit=2), runtime), run.run(config, runtime)

    assert small.maps == whole.maps
    for made in (small, whole):
        listed = maps.read_scans(made.maps, made.record.data_fingerprint, runtime.paths.cache)
        assert sorted(listed) == sorted(subject.id for subject in made.record.subjects)
        assert read_json(maps.scans_path(made.maps, made.record.data_fingerprint), dict[str, Any])


def test_hardware_names_the_processor_and_the_kernels_that_torch_chose() -> None:
    import torch

    found = environment.hardware("cpu")
    assert found["capability"] == torch.backends.cpu.get_cpu_capability()
    assert len(str(found["processor"])) > 3


SHORT = {"autoencoder_steps": "3", "steps": "2"}


@pytest.mark.usefixtures("finished")
def test_two_methods_share_the_training_that_they_have_in_common(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    flow = replace(CELL, method="reflect", settings=SHORT | {"reflow_steps": "2"})
    noise = replace(CELL, method="mad_ad", settings=SHORT)
    first, second = run.run(flow, runtime).record, run.run(noise, runtime).record
    alone = run.run(noise, replace(runtime, paths=replace(runtime.paths, runs=tmp_path / "alone"))).record

    assert len(list((runtime.paths.runs / "stages").iterdir())) == 1
    assert caplog.text.count("the autoencoder is there already") == 1
    states = [fit.read_state(made.fit_hash, runtime) for made in (first, second)]
    shared = [{k: v for k, v in state.items() if k.startswith("autoencoder.")} for state in states]
    np.testing.assert_equal(shared[0], shared[1])
    assert content(alone) == content(second), "what was found is what would have been made"
    times = [made.timing["fit"] for made in (first, second)]
    assert [list(time.trainings or {}) for time in times] == [
        ["autoencoder", "flow", "reflow"],
        ["autoencoder", "latent"],
    ]
    assert times[1].trainings["autoencoder"] == times[0].trainings["autoencoder"]  # type: ignore[index]
    assert times[1].seconds >= sum(times[1].trainings.values())  # type: ignore[union-attr]

    other = run.run(replace(noise, settings=SHORT | {"autoencoder_batch": "2"}), runtime).record
    assert other.fit_hash != second.fit_hash
    assert len(list((runtime.paths.runs / "stages").iterdir())) == 2
