"""A model file from elsewhere is believed in nothing: damaged or made by another, it is refused."""

import hashlib
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from uadbench.experiment.config import Runtime
from uadbench.experiment.model import load_model
from uadbench.experiment.model_file import CALIBRATION, FACTS, STATE, read_model
from uadbench.system.errors import UserError

pytestmark = pytest.mark.usefixtures("plugins")
State = dict[str, Any]


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(content: bytes) -> bytes:
    """A zip file with the comment that `export` writes: who alters a file on purpose can write it too."""
    held = io.BytesIO(content)
    with zipfile.ZipFile(held, "a") as archive:
        archive.comment = b"0" * 64
    whole = held.getvalue()[:-64]
    return whole + hashlib.sha256(whole).hexdigest().encode()


def packed(members: Mapping[Any, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sealed(held.getvalue())


def with_facts(members: Mapping[str, bytes], **said: Any) -> dict[str, bytes]:
    """Members with other facts, whose hashes are right."""
    content = json.loads(members[FACTS])
    content["model"] |= said
    content["members"] = {
        name: {"bytes": len(one), "sha256": hashlib.sha256(one).hexdigest()}
        for name, one in members.items()
        if name != FACTS
    }
    return {**members, FACTS: json.dumps(content).encode()}


# ---- damage ------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_bit_that_is_altered_anywhere_is_found(exported: Path, tmp_path: Path) -> None:
    content, chance, file = (exported / "random.zip").read_bytes(), random.Random(0), tmp_path / "model.zip"
    file.write_bytes(content)
    facts, arrays = read_model(file)
    assert facts.method == "random"
    assert list(arrays) == [STATE]
    # Every byte of the zip's own records, which surround the members, and some of the members.
    edges = [*range(60), *range(len(content) - 420, len(content))]
    for place in [*edges, *chance.sample(range(len(content)), 200)]:
        altered = bytearray(content)
        altered[place] ^= 1 << chance.randrange(8)
        file.write_bytes(altered)
        with pytest.raises(UserError, match=r"model\.zip cannot be (used as a model|read)"):
            read_model(file)


def test_a_file_that_is_cut_or_longer_is_refused(exported: Path, tmp_path: Path) -> None:
    content, file = (exported / "random.zip").read_bytes(), tmp_path / "model.zip"
    lengths = [0, 1, 3, 30, 63, 64, 65, len(content) // 2, len(content) - 64, len(content) - 1]
    for changed in [*(content[:n] for n in lengths), content + b"\0", content + content, b"\0" + content]:
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"model\.zip cannot be used as a model"):
            read_model(file)


def test_what_is_no_model_file_is_said(tmp_path: Path, away: Runtime) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    for name in ("text.zip", "folder.zip", "pipe.zip", "missing.zip"):
        with pytest.raises(UserError, match=f"{name} cannot be (used as a model|read)"):
            load_model(tmp_path / name, away)
    other = tmp_path / "named_otherwise"  # known by how it begins
    other.write_bytes(packed({"a.txt": b"a"}))
    with pytest.raises(UserError, match="has a member 'a.txt', expected model.json"):
        load_model(other, away)


# ---- members that nobody exports ---------------------------------------------------------------


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def claiming(content: bytes, size: int) -> bytes:
    """A zip file whose list says that its state has so many bytes."""
    at = content.rindex(b"PK\1\2")  # the last member of the list
    return sealed(content[: at + 20] + struct.pack("<II", size, size) + content[at + 28 :])


@pytest.mark.parametrize(
    ("words", "change"),
    [
        *[
            ("a path that leaves the folder", lambda m, name=name: packed({**m, name: b"x"}))
            for name in ("../evil", "/etc/passwd", "a/../../b", "..\\evil", "C:\\evil", "C:/evil")
        ],
        ("is a link", lambda m: packed({FACTS: m[FACTS], linked(STATE): b"/etc/passwd"})),
        ("a member 'method.py', expected", lambda m: packed({**m, "method.py": b"import os"})),
        ("a member 'sub/', expected", lambda m: packed({**m, "sub/": b""})),
        ("no member state.safetensors", lambda m: packed({FACTS: m[FACTS]})),
        ("no member model.json", lambda m: packed({STATE: m[STATE]})),
        (
            "is compressed or encrypted",
            lambda m: packed({FACTS: m[FACTS], STATE: bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
        ),
        ("claims 2,000,000,000 bytes", lambda m: claiming(packed(m), 2_000_000_000)),
        ("are not those that model.json names", lambda m: packed({**m, STATE: save({"a": np.ones(3)})})),
        ("are not those that model.json names", lambda m: packed({**m, CALIBRATION: m[STATE]})),
        ("is not what an export writes", lambda m: packed({**m, FACTS: b""})),
        ("is not what an export writes", lambda m: packed({**m, FACTS: b"[" * 100_000})),
        ("is not what an export writes", lambda m: packed({**m, FACTS: b"\xff\xfe"})),
    ],
)
def test_a_zip_file_with_other_members_is_refused(
    words: str, change: Callable[[dict[str, bytes]], bytes], exported: Path, tmp_path: Path
) -> None:
    """Though its comment is right: whoever makes such a file can make that."""
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    (folder / "model.zip").write_bytes(change(members_of(exported / "random.zip")))
    with pytest.raises(UserError, match=words):
        read_model(folder / "model.zip")
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "folder", "model.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(exported: Path, tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members_of(exported / "random.zip").items():
            archive.writestr(name, content)
            archive.writestr(name, content)
    (tmp_path / "model.zip").write_bytes(sealed(held.getvalue()))
    with pytest.raises(UserError, match="is there twice"):
        read_model(tmp_path / "model.zip")


def test_a_later_version_of_the_format_is_said(exported: Path, tmp_path: Path) -> None:
    members = members_of(exported / "random.zip")
    later = json.loads(members[FACTS]) | {"format": 2, "members": "in another form"}
    (tmp_path / "model.zip").write_bytes(packed({**members, FACTS: json.dumps(later).encode()}))
    with pytest.raises(UserError, match="version 2 of the format, and this uadbench reads up to 1; update"):
        read_model(tmp_path / "model.zip")


# ---- facts and arrays that do not fit ----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "the method 'nobody_has_it' is not here, and a model file holds no code",
            {"method": "nobody_has_it"},
        ),
        ("model.json is not what an export writes", {"method": "../random"}),
        ("model.json is not what an export writes", {"seed": -1}),
        ("model.json is not what an export writes", {"thresholds": {"fpr1": "high"}}),
        ("model.json is not what an export writes", {"surplus": 1}),
        ("no preset 'huge'", {"preset": "huge"}),
        ("no protocol 'uad-9'", {"protocol": "uad-9"}),
        ("is of slices without geometry", {"protocol": "uad-1-2d"}),
        ("was made on the grid g48, but", {"protocol": "uad-1-2mm"}),
        ("no post-processing profile 'baur9'", {"headline": "baur9"}),
        ("no extractor 'rm'", {"preparation": {"extractor": "rm"}}),
        ("do not fit random", {"preparation": {"n4": "yes"}}),
        ("draws of random expects a whole number", {"parameters": {"draws": 10**9}}),
        ("no option 'drawn' of random; did you mean 'draws'", {"parameters": {"drawn": 2}}),
        ("they hold 0 parameters, not 7", {"n_parameters": 7}),
    ],
)
def test_facts_that_do_not_go_together_are_refused(
    words: str, said: dict[str, Any], exported: Path, away: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(packed(with_facts(members_of(exported / "random.zip"), **said)))
    with pytest.raises(UserError, match=words) as error:
        load_model(file, away)
    assert "model.zip" in str(error.value)


VALUES: tuple[Any, ...] = (
    None, True, -1, 2**31, 2**70, 1e300, "", "x", "\x1b", "x" * 5000, "../..", [], {}, [1], {"a": 1}, "raw",
)  # fmt: skip


def test_any_other_fact_is_taken_or_refused_in_a_sentence(
    exported: Path, away: Runtime, tmp_path: Path
) -> None:
    members, chance, file = members_of(exported / "random.zip"), random.Random(1), tmp_path / "model.zip"
    names = sorted(json.loads(members[FACTS])["model"])
    refusals = []
    for _ in range(150):
        file.write_bytes(packed(with_facts(members, **{chance.choice(names): chance.choice(VALUES)})))
        try:
            assert load_model(file, away).caveats is not None
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > 75
    for sentence in refusals:
        assert "\n" not in sentence
        assert "\x1b" not in sentence
        assert len(sentence) < 1000


def first_of(state: State) -> str:
    return next(name for name in sorted(state) if state[name].dtype == np.float32 and state[name].ndim > 1)


def altered(state: State, how: str) -> State:
    """Arrays with something wrong in them."""
    name = first_of(state)
    if how == "name":
        state["another"] = state.pop(name)
    elif how == "missing":
        del state[name]
    elif how == "shape":
        state[name] = np.ascontiguousarray(state[name].T)[..., None]
    elif how == "kind":
        state[name] = state[name].astype(np.float64)
    else:
        state[name].flat[0] = {"nan": np.nan, "infinite": np.inf}[how]
    return state


@pytest.mark.parametrize("how", ["name", "missing", "shape", "kind", "nan", "infinite"])
@pytest.mark.parametrize(("method", "member"), [("vae", STATE), ("dal_r", CALIBRATION), ("pca", CALIBRATION)])
def test_arrays_that_are_not_the_method_s_are_refused(
    method: str, member: str, how: str, exported: Path, away: Runtime, tmp_path: Path
) -> None:
    members, file = members_of(exported / f"{method}.zip"), tmp_path / "model.zip"
    members[member] = save(altered(load(members[member]), how))
    file.write_bytes(packed(with_facts(members)))
    with pytest.raises(
        UserError, match=rf"model\.zip cannot be used as a model: its arrays do not fit {method}"
    ):
        load_model(file, away)


def test_options_of_a_giant_network_are_refused_before_it_is_built(
    exported: Path, away: Runtime, tmp_path: Path
) -> None:
    members, file = members_of(exported / "vae.zip"), tmp_path / "model.zip"
    wide = json.loads(members[FACTS])["model"]["parameters"] | {"width": 4096}
    file.write_bytes(packed(with_facts(members, parameters=wide)))
    with pytest.raises(UserError, match="its arrays do not fit vae"):
        load_model(file, away)


def test_a_method_that_is_calibrated_needs_its_calibration(
    exported: Path, away: Runtime, tmp_path: Path
) -> None:
    members, file = members_of(exported / "pca.zip"), tmp_path / "model.zip"
    del members[CALIBRATION]
    file.write_bytes(packed(with_facts(members)))
    with pytest.raises(UserError, match="calibration.safetensors is missing"):
        load_model(file, away)
