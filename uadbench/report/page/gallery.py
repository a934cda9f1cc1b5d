"""Gallery: image, pseudo-healthy image, score map and outlines of the same subjects, for every method.

Slices are side by side in one picture (a sprite), which the page shifts; all on one grid, so that methods
compare. As many subjects as fit `LIMIT`; without stored maps there is no gallery.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import template_scale
from uadbench.data.space import GRIDS, Grid, resample
from uadbench.evaluation import maps
from uadbench.evaluation.maps import Case
from uadbench.evaluation.postprocess import PROFILES, drop_components, filtered
from uadbench.experiment.record import RunRecord
from uadbench.preprocessing.resampling import bounding_box
from uadbench.report.evidence import operating_point
from uadbench.report.leaderboard import Table
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths

LIMIT = 8_000_000  # characters of all pictures together
SLICES = 13
HEALTHY = "healthy"
DISPLAY = GRIDS["g96"]
FINER = 3  # outlines are drawn on this many pixels per voxel
LESION, FOUND = (0, 229, 255), (90, 255, 90)  # colours of the outlines
QUALITY = 78


@dataclass(frozen=True)
class View:
    """Which part of a subject is shown: a window of the axial plane, and slices."""

    grid: Grid
    window: tuple[slice, slice]
    slices: Sequence[int]
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    image: NDArray[np.float32]


def build_gallery(found: Sequence[Table], paths: Paths) -> dict[int, list[dict[str, Any]]]:
    """By the place of a table: subjects with their image, and of every row the maps of them.

    Within `LIMIT` altogether.
    """
    made: dict[int, list[dict[str, Any]]] = {}
    room = LIMIT
    for place, table in enumerate(found):
        firsts = {number: row.records[0] for number, row in enumerate(table.rows) if row.records}
        stored = {
            number: maps.read_scans(paths.runs / "maps" / r.score_hash, r.data_fingerprint, paths.cache)
            for number, r in firsts.items()
            if r.score_hash
        }
        if not any(stored.values()):
            continue
        subjects = []
        for name, kind in _typical(table.rows[0].records[0]):
            shown = _subject(name, kind, table, stored)
            size = _size(shown) if shown else 0
            if shown and size <= room:
                subjects.append(shown)
                room -= size
        if subjects:
            made[place] = subjects
    return made


def _typical(record: RunRecord) -> list[tuple[str, str]]:
    """Of each lesion kind the subject of median lesion volume, and a healthy one."""
    chosen: dict[str, list[tuple[float, str]]] = {}
    for s in record.subjects:
        if s.partition == "lesion-test":
            chosen.setdefault(s.lesion_kind or "lesion", []).append((s.lesion_size, s.id))
    typical = [(sorted(of_kind)[len(of_kind) // 2][1], kind) for kind, of_kind in sorted(chosen.items())]
    healthy = sorted(s.id for s in record.subjects if s.partition == "healthy-test")
    return typical + [(name, HEALTHY) for name in healthy[len(healthy) // 2 :][:1]]


def _subject(name: str, kind: str, table: Table, stored: dict[int, dict[str, Case]]) -> dict[str, Any] | None:
    """The pictures of one subject; None where no row has maps of it."""
    with_maps = {number: cases[name] for number, cases in stored.items() if name in cases}
    if not with_maps:
        return None
    first = next(iter(with_maps.values()))
    try:
        view = _view(first)
    except (OSError, ValueError, KeyError):  # a file that is being written, or of another version
        return None
    methods = []
    for number, case in with_maps.items():
        drawn = _maps(case, view, table.rows[number].records[0])
        if drawn is not None:
            methods.append({"row": number, **drawn})
    spacing, origin = view.grid.spacing_mm, view.grid.origin_mm[2]
    areas = [int(view.lesion[..., n].sum()) for n in view.slices]
    return {
        "id": name,
        "kind": kind,
        "width": view.window[0].stop - view.window[0].start,
        "height": view.window[1].stop - view.window[1].start,
        "slices": [
            f"slice {n + 1}" if view.grid.flat else f"{origin + spacing * n:+.0f} mm" for n in view.slices
        ],
        "start": int(np.argmax(areas)) if any(areas) else len(areas) // 2,
        "lesion": [area > 0 for area in areas],
        "sides": not view.grid.flat,
        "image": _jpeg(_sprite(view.image, view)),
        "outline": _outline(view.lesion, view, LESION),
        "methods": methods,
    }


def _view(case: Case) -> View:
    own = case.prepared.grid
    grid = own if own.flat else DISPLAY
    brain, lesion = (
        _shown(mask, case, grid) > 0.5 for mask in (case.prepared.brain(), case.prepared.lesion())
    )
    *plane, up = bounding_box(brain)
    window = [
        slice(max(0, s.start - 2), min(n, s.stop + 2)) for s, n in zip(plane, brain.shape, strict=False)
    ]
    low, high = up.start, up.stop - 1
    margin = 0 if grid.flat else (high - low) // 8
    slices = {int(n) for n in np.linspace(low + margin, high - margin, SLICES).round()}
    if lesion.any():  # the slice with most lesion takes the place of its neighbour
        largest = int(lesion.sum((0, 1)).argmax())
        slices = slices - {min(slices, key=lambda n: abs(n - largest))} | {largest}
    return View(
        grid, (window[0], window[1]), sorted(slices), lesion, brain, _shown(case.prepared.image(), case, grid)
    )


def _maps(case: Case, view: View, record: RunRecord) -> dict[str, Any] | None:
    """The pictures of one scan by one row, the ends of its colour bar, and what it reaches on this scan."""
    import matplotlib

    try:
        stored = maps.read_map(case.map_file)
        score = resample(stored.score_map, case.map_grid, view.grid)
        found = _found(case, stored.score_map, record)
    except (OSError, ValueError, UserError):
        return None
    low, high = (float(v) for v in np.percentile(score[view.brain], [1, 99.5]))
    scaled = np.where(view.brain, (score - low) / max(high - low, 1e-6), 0).clip(0, 1)
    coloured = matplotlib.colormaps["magma"](_sprite(scaled, view))[..., :3]
    restored = None
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, view.grid) * view.brain
    own = next(s for s in record.subjects if s.id == case.prepared.session.id)
    return {
        "score": _jpeg(coloured),
        "restored": None if restored is None else _jpeg(_sprite(restored, view)),
        "found": None if found is None else _outline(_shown(found, case, view.grid) > 0.5, view, FOUND),
        "ends": (low, high),
        "ap": own.ap.get(record.headline),
        "dice": own.dsc.get(record.headline, {}).get(operating_point(record)),
    }


def _found(case: Case, score_map: NDArray[np.float32], record: RunRecord) -> NDArray[np.bool_] | None:
    """What is above the frozen threshold after the headline profile, as it was counted; None without one."""
    threshold = record.thresholds.get(record.headline, {}).get(operating_point(record))
    if threshold is None:
        return None
    grid, profile = case.prepared.grid, PROFILES[record.headline]
    scores = filtered(resample(score_map, case.map_grid, grid), case.prepared.brain(), profile, grid)
    above = scores >= np.float32(threshold)
    return drop_components(above, profile, grid, template_scale(case.prepared.facts))


def _shown(volume: NDArray[Any], case: Case, grid: Grid) -> NDArray[np.float32]:
    return resample(volume.astype(np.float32), case.prepared.grid, grid)


def _sprite(volume: NDArray[Any], view: View) -> NDArray[Any]:
    """The slices side by side, as pictures: (height, slices * width), anterior up."""
    return np.concatenate([volume[..., n][view.window].T[::-1] for n in view.slices], axis=1)


def _outline(mask: NDArray[np.bool_], view: View, colour: tuple[int, int, int]) -> str | None:
    """The mask's contours on a transparent ground; None where nothing is in it."""
    from PIL import Image
    from scipy import ndimage

    if not mask.any():
        return None
    lines = []
    for n in view.slices:
        shown = mask[..., n][view.window].T[::-1].repeat(FINER, 0).repeat(FINER, 1)
        lines.append(ndimage.binary_dilation(shown, iterations=2) & ~shown if shown.any() else shown)
    drawn = np.concatenate(lines, axis=1)
    image = Image.fromarray(drawn.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, *colour])
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, transparency=0, bits=1)
    return _uri("image/png", stream.getvalue())


def _jpeg(picture: NDArray[Any]) -> str:
    """A picture in [0, 1], grey (H, W) or colour (H, W, 3)."""
    from PIL import Image

    stream = io.BytesIO()
    pixels = (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return _uri("image/jpeg", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _size(shown: dict[str, Any]) -> int:
    pictures = [shown["image"], shown["outline"]]
    pictures += [one[key] for one in shown["methods"] for key in ("score", "restored", "found")]
    return sum(len(picture) for picture in pictures if picture)
