"""Files that the program keeps for itself, damaged in every way: found out, or read as they were written.

Checkpoints, prepared volumes, score maps, states of fits, brain masks and side files in JSON.
"""

import json
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid
from uadbench.evaluation import maps
from uadbench.evaluation.maps import Case
from uadbench.learning.checkpoint import Checkpoint
from uadbench.learning.history import History
from uadbench.methods import Context, Score
from uadbench.preprocessing import brains
from uadbench.preprocessing.filememory import FileMemory
from uadbench.system.files import read_json, read_sealed, write_json, write_sealed
from uadbench.system.locks import OWNER, owner_of, trying
from uadbench.system.paths import Paths

GRID = Grid("tiny", (6, 7, 5), 4.0, (0.0, 0.0, 0.0))
ALL, SAMPLE = 1000, 40
MOST_BYTES = 64 * 2**20  # that a damaged file may take
JUNK = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"0",
    b'""',
    b"[" * 10_000,
    b"\xff" * 64,
    b'{"content": {}, "sha256": ""}',
)


@dataclass(frozen=True)
class Kept:
    """A file, and a reader that answers None where it finds it damaged."""

    path: Path
    read: Callable[[], Any]
    exact: bool = True  # what is read back is what was written, or nothing


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


def _checkpoint(folder: Path) -> Kept:
    def parts() -> tuple[nn.Module, torch.optim.Optimizer, Checkpoint]:
        network = _network()
        optimiser = torch.optim.AdamW(network.parameters())
        generator = torch.Generator().manual_seed(1)
        named: dict[str, Any] = {"network": network, "optimiser": optimiser}
        return network, optimiser, Checkpoint(Context(folder=folder), {"a": 1}, named, generator, 0.0, "fuzz")

    network, optimiser, checkpoint = parts()
    network(torch.ones(2, 1, 5, 5)).sum().backward()
    optimiser.step()
    checkpoint.save(History(3, 0.5, 0.4, 1, [(2, 0.6, 0.4)]), network.state_dict())

    def read() -> Any:
        fresh, _, again = parts()
        found = again.resume(fresh)
        if found is None:  # then nothing of the file has been taken up
            for name, value in _network().state_dict().items():
                assert torch.equal(fresh.state_dict()[name], value)
            return None
        return (
            found[0],
            {k: v.tolist() for k, v in found[1].items()},
            [p.tolist() for p in fresh.parameters()],
        )

    return Kept(folder / "fuzz.checkpoint", read)


def _volume(folder: Path) -> Kept:
    numbers = np.random.default_rng(0)
    image = numbers.random(GRID.shape).astype(np.float32)
    path = folder / "volume.safetensors"
    labels = (image > 0.5).astype(np.uint8)
    prepared.write_codes(
        path, prepared.encode(image, image > 0.1), labels, {"slice_area_mm2": [1.0] * 5, "p99": 0.25}
    )

    def read() -> Any:
        if not prepared.is_whole(path, GRID):
            return None
        item = Prepared(Session(id="a", cohort="b", subject="c", images={}, healthy=True), "T1", GRID, path)
        return item.facts, item.codes.tolist(), item.lesion().tolist()

    return Kept(path, read)


def _map(folder: Path) -> Kept:
    path = folder / "map.safetensors"
    numbers = np.random.default_rng(1).normal(size=GRID.shape).astype(np.float32)
    maps.write_map(path, Score(numbers, numbers[None]), 1.5, 2.5)

    def read() -> Any:
        if not maps.is_whole(path):
            return None
        found, cost = maps.read_map(path), maps.read_cost(path)
        assert found.pseudo_healthy is not None
        return found.score_map.tolist(), found.pseudo_healthy.tolist(), cost.seconds, cost.peak_memory_mb

    return Kept(path, read)


def _sealed(folder: Path) -> Kept:
    path = folder / "fit.json"
    write_sealed(path, {"matrix": [[1.25, 0.0], [1e-9, 3.0]], "seconds": 0.1, "name": "ä"})
    return Kept(path, lambda: read_sealed(path))


def _mask(folder: Path) -> Kept:
    path = folder / "brain.mask"
    brain = np.random.default_rng(2).random(GRID.shape) > 0.5
    brains._write_mask(path, brain)

    def read() -> Any:
        found = brains._read_mask(path, GRID.shape)
        return None if found is None else found.tolist()

    return Kept(path, read)


def _roots(folder: Path) -> Kept:
    paths = Paths(folder, folder, folder, folder)
    paths.remember_root("ixi", folder / "x")
    return Kept(folder / "roots.json", lambda: str(paths.root("ixi")), exact=False)


def _memory(folder: Path) -> Kept:
    path, file = folder / "files.json", folder / "scan.nii"
    file.write_bytes(b"voxels")
    memory = FileMemory(path)
    memory.hash(file)
    memory.keep()

    def read() -> Any:
        found = FileMemory(path)
        found.hash(file)
        found.keep()
        return read_json(path, dict[str, Any])

    return Kept(path, read, exact=False)


def _list_of_scans(folder: Path) -> Kept:
    volume = _volume(folder)
    _map(folder)
    who = Session(id="a", cohort="b", subject="c", images={}, healthy=True)
    case = Case("healthy-test", Prepared(who, "T1", GRID, volume.path), folder / "map.safetensors", GRID)
    maps.write_scans(folder, "print", [case])
    return Kept(
        maps.scans_path(folder, "print"), lambda: maps.read_scans(folder, "print", folder), exact=False
    )


def _lock(folder: Path) -> Kept:
    with trying(folder / "lock"):
        pass
    place = next(folder.glob("lock.*"))
    write_json(place / OWNER, {"host": "h", "place": "b", "pid": 7, "ticks": 3, "job": ""})

    def read() -> Any:
        found = owner_of(folder / "lock")
        return None if found is None else str(found)

    return Kept(place / OWNER, read, exact=False)


MAKERS = (_checkpoint, _volume, _map, _sealed, _mask, _roots, _memory, _list_of_scans, _lock)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A file's bytes, damaged as disks, editors and other programs do."""
    way = chance.randrange(7)
    at, length = chance.randrange(len(content)), chance.randrange(1, 64)
    if way == 0:
        return content[:at]
    if way == 1:
        return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
    if way == 2:
        return content[:at] + bytes(length) + content[at + length :]
    if way == 3:
        return content[:at] + chance.randbytes(length) + content[at:]
    if way == 4:
        return chance.choice(JUNK)
    if way == 5:
        return content + chance.randbytes(length)
    return _other_value(content, chance)


def _other_value(content: bytes, chance: random.Random) -> bytes:
    """A value of a JSON file (or of a header) of another type or size; where there is none, a cut piece."""
    try:
        read = json.loads(content)
    except ValueError:
        length = chance.randrange(2**40).to_bytes(8, "little")
        return length + content[8:]
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            spots.append((node, key))
            walk(node[key])

    walk(read)
    if not spots:
        return b"[1]"
    node, key = chance.choice(spots)
    values: tuple[Any, ...] = (None, -1, 1e300, "x", [], {}, [[1]], 2**70, True)
    node[key] = chance.choice(values)
    return json.dumps(read).encode()


def drive(folder: Path, cases: int, seed: int) -> dict[str, int]:
    """Damage files, one at a time, and read them; how many were found out."""
    chance = random.Random(seed)
    kept = []
    for maker in MAKERS:
        (folder / maker.__name__).mkdir()
        kept.append(maker(folder / maker.__name__))
    whole = [(one, one.path.read_bytes(), one.read()) for one in kept]
    counts = {"found out": 0, "as written": 0, "read otherwise": 0}
    tracemalloc.start()
    for number in range(cases):
        one, content, expected = whole[number % len(whole)]
        one.path.write_bytes(damaged(content, chance))
        answer = one.read()
        if answer is None:
            counts["found out"] += 1
        elif answer == expected:
            counts["as written"] += 1
        else:
            counts["read otherwise"] += 1
            assert not one.exact, f"{one.path.name}, case {number}: something else was read and believed"
        one.path.write_bytes(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
    return counts


def test_a_sample_of_damaged_files_is_found_out_or_read_as_written(tmp_path: Path) -> None:
    counts = drive(tmp_path, SAMPLE, seed=0)
    assert counts["found out"] > SAMPLE / 3


@pytest.mark.slow
def test_a_thousand_damaged_files_are_found_out_or_read_as_written(tmp_path: Path) -> None:
    counts = drive(tmp_path, ALL, seed=1)
    print(counts)
    assert counts["found out"] > ALL / 3


def test_a_header_that_asks_for_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"score_map": entry, "__metadata__": {"facts": "{}"}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    assert not maps.is_whole(path)
    assert not prepared.is_whole(path, GRID)
    path.write_bytes((2**60).to_bytes(8, "little"))
    assert not maps.is_whole(path)
    assert msgspec.json.decode(header)
