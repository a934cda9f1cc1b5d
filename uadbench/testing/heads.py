"""Heads: simulated subjects as scanners and archives store them: any space, any voxels, full or stripped."""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from uadbench.data.space import CORNER, Grid
from uadbench.phantom import crop_box, make_anatomy, make_member, make_scans
from uadbench.phantom.cohort import FIRST_MEMBER
from uadbench.phantom.fields import axes_mm
from uadbench.testing.toys import draw_ellipsoid

Matrix = NDArray[np.float64]

DRAWN = Grid("fixture", (48, 57, 48), 4.0, CORNER)  # coarse: a fixture is made in seconds
CENTRE_MM = (0.0, -18.0, 16.0)  # of a head in MNI152, about
PEAK = 1000.0  # stored value of the brightest brain tissue
NOISE = 0.01  # deviation, as a share of the peak

# What surrounds the brain, as shares of the brightest tissue: fluid, bone, scalp; and how far out it reaches.
SHELLS_MM = (4.0, 9.0, 15.0)
SHELLS = {
    "T1": (0.25, 0.08, 1.10),
    "T2": (0.95, 0.06, 0.60),
    "FLAIR": (0.15, 0.08, 0.80),
    "PD": (0.80, 0.06, 0.70),
    "T1c": (0.25, 0.08, 1.10),
    "DWI": (0.15, 0.04, 0.20),
    "ADC": (0.95, 0.04, 0.10),
}
CONTRASTS = tuple(SHELLS)


@dataclass(frozen=True)
class Visit:
    """A subject at a scanning session, as a fixture counts them: all from 1."""

    number: int
    subject: int
    label: int
    age: float  # years
    sex: str  # "F" or "M"


@dataclass(frozen=True)
class Lattice:
    """The voxels of a scan: where the stored axes point, how far apart, how oblique; centred on the head."""

    axes: str = "RAS"
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 4.0)  # along right, front, top
    extent_mm: tuple[float, float, float] = (192.0, 228.0, 192.0)
    tilt_degrees: float = 0.0  # of the slices about the left-right axis


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One file of a fixture and what it shows."""

    visit: Visit
    path: str  # relative to the root; ends with .nii.gz, .nii or .hdr (Analyze)
    shows: str  # a contrast, "brain", "lesion" or "segmentation"
    space: str = "native"  # one of cards.SPACES
    lattice: Lattice = Lattice()
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # against the visit's other scans
    stripped: bool = False
    # Stripped, then mean 0 and deviation 1 inside the brain: the background is not 0.
    standardised: bool = False
    labels: tuple[int, ...] = (1,)  # of the lesion, from its rim to its core
    beside: int | None = None  # label of another region, which is not the lesion
    stored: str = ""  # dtype; "": int16 for images, float32 for standardised ones, uint8 for masks


@dataclass(frozen=True)
class Drawn:
    """A subject on the grid DRAWN."""

    images: dict[str, NDArray[np.float32]]  # the whole head, brightest brain tissue about 1
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]


@dataclass(frozen=True)
class Stored:
    """Voxels in storage order, with the affine to world millimetres (RAS+)."""

    array: NDArray[Any]
    affine: Matrix


def make_visit(number: int, subject: int, label: int, kind: str | None, seed: int) -> Visit:
    """A visit of a subject, whose age and sex the phantom's cohort decides."""
    member = make_member(FIRST_MEMBER + subject, kind, seed)
    return Visit(number, subject, label, member.subject.age, member.subject.sex)


@lru_cache(maxsize=16)
def draw_head(subject: int, kind: str | None, seed: int) -> Drawn:
    """The head of a subject, in every contrast."""
    scans = make_scans(make_member(FIRST_MEMBER + subject, kind, seed), DRAWN)
    lesion = scans.lesion if scans.lesion is not None else np.zeros_like(scans.brain)
    plain = {c: image / np.percentile(image[scans.brain], 99) for c, image in scans.images.items()}
    enhanced = plain["T1"] + 0.5 * (lesion & ~ndimage.binary_erosion(lesion))
    brains = plain | {
        "T1c": enhanced,
        "DWI": np.where(lesion, 1.1, 0.6 * plain["T2"]),  # acute stroke holds water back
        "ADC": np.where(lesion, 0.35, plain["T2"]),
    }
    layer = _layers(scans.brain)
    images = {
        contrast: np.where(scans.brain, brains[contrast], np.array([*shells, 0.0])[layer]).astype(np.float32)
        for contrast, shells in SHELLS.items()
    }
    return Drawn(images, scans.brain, lesion)


# FreeSurfer's label numbers, on the left and on the right, of what the phantom knows of a brain; and the
# numbers that SynthSeg's release gives to what lies outside it, from the inside outwards.
LABELS = {"cortex": (3, 42), "deep": (10, 49), "white": (2, 41), "cerebellar cortex": (8, 47)}
LABELS |= {"cerebellar white": (7, 46), "ventricle": (4, 43), "stem": (16, 16), "lesion": (25, 57)}
FLUID_LABEL, OUTSIDE_LABELS = 24, (24, 511, 507, 0)


@lru_cache(maxsize=16)
def segment_head(subject: int, kind: str | None, seed: int) -> NDArray[np.int32]:
    """The head of a subject in FreeSurfer's label numbers, on the grid DRAWN, with a small lesion."""
    around, where = crop_box(DRAWN)
    anatomy = make_anatomy(make_member(FIRST_MEMBER + subject, kind, seed).subject, around)
    tissue = np.array(["fluid", "cortex", "deep", "white"])[anatomy.tissues.argmax(0)]
    solid, zones = tissue != "fluid", anatomy.zones
    tissue[solid & (zones["cerebellum"] > 0.5)] = "cerebellar cortex"
    tissue[(tissue == "cerebellar cortex") & (anatomy.white > 0.5)] = "cerebellar white"
    tissue[solid & (zones["brainstem"] > 0.5)] = "stem"
    tissue[anatomy.ventricle_mm < 0] = "ventricle"
    tissue[(tissue == "white") & draw_ellipsoid(DRAWN, (28, -20, 28), (8, 8, 8))[where]] = "lesion"
    right = np.broadcast_to(axes_mm(around)[0] > 0, tissue.shape)
    labels = np.full(tissue.shape, FLUID_LABEL, np.int32)
    for name, (left_label, right_label) in LABELS.items():
        labels[tissue == name] = np.where(right, right_label, left_label)[tissue == name]
    head = np.array(OUTSIDE_LABELS, np.int32)[_layers(draw_head(subject, kind, seed).brain)]
    head[where] = np.where(anatomy.brain, labels, head[where])
    return head


def _layers(brain: NDArray[np.bool_]) -> NDArray[np.intp]:
    """What lies around a brain on the grid DRAWN: 0 next to it, and so on outwards; 3 is air."""
    return np.searchsorted(SHELLS_MM, DRAWN.spacing_mm * ndimage.distance_transform_edt(~brain))


def place_head(picture: Picture, seed: int) -> Matrix:
    """Where the visit's head lies: MNI152 mm to the mm of the picture's space, (4, 4)."""
    scale, turn, shift = np.ones(3), np.zeros(3), np.zeros(3)
    if picture.space in ("native", "co-registered"):
        random = np.random.default_rng([seed, picture.visit.number])
        scale, turn = np.full(3, 0.92), random.uniform(-1, 1, 3) * (6, 3, 3)
        shift = random.uniform(-5, 5, 3)
    elif picture.space == "SRI24":  # BraTS: world from a volume's corner
        scale, shift = np.full(3, 0.95), np.array([-120.0, 137.0, 60.0])
    elif picture.space == "Talairach":
        scale = np.array([0.93, 0.92, 0.88])  # smaller than MNI152
    matrix = np.eye(4)
    matrix[:3, :3] = turn_by(*turn) * scale
    matrix[:3, 3] = shift + picture.moved_mm
    return matrix


def turn_by(x: float, y: float, z: float) -> Matrix:
    """Rotation (3, 3) about the three axes, in degrees."""
    return np.asarray(Rotation.from_euler("XYZ", (x, y, z), degrees=True).as_matrix())


def lay_voxels(lattice: Lattice, centre_mm: Matrix) -> tuple[tuple[int, ...], Matrix]:
    """Shape in storage order, and affine (4, 4), of a lattice around a point."""
    turn = turn_by(lattice.tilt_degrees, 0, 0)
    shape, affine = [], np.eye(4)
    for stored, (world, direction) in enumerate(axcodes2ornt(lattice.axes).astype(int)):
        spacing = lattice.spacing_mm[world]
        shape.append(round(lattice.extent_mm[world] / spacing))
        affine[:3, stored] = turn[:, world] * direction * spacing
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return tuple(shape), affine


def show_picture(picture: Picture, kind: str | None, seed: int) -> Stored:
    """What a picture shows, on its voxels."""
    head = draw_head(picture.visit.subject, kind, seed)
    to_space = place_head(picture, seed)
    centre = to_space[:3, :3] @ CENTRE_MM + to_space[:3, 3]
    shape, affine = lay_voxels(picture.lattice, centre)
    to_drawn = np.linalg.inv(to_space @ DRAWN.affine) @ affine
    if picture.shows in head.images:
        image = sample(head.images[picture.shows], to_drawn, shape, 1)
        bare = picture.stripped or picture.standardised
        brain = sample(head.brain, to_drawn, shape, 0) > 0 if bare else None
        return Stored(_exposed(picture, image, brain, seed), affine)
    if picture.shows == "segmentation":
        labels: NDArray[Any] = segment_head(picture.visit.subject, kind, seed)
    else:
        labels = head.brain if picture.shows == "brain" else _labels(head, picture)
    usual = "int32" if picture.shows == "segmentation" else "uint8"
    return Stored(sample(labels, to_drawn, shape, 0).astype(picture.stored or usual), affine)


def sample(
    source: NDArray[Any], to_source: Matrix, shape: tuple[int, ...], order: Literal[0, 1]
) -> NDArray[np.float32]:
    """A volume on other voxels, whose indices `to_source` (4, 4) leads to its own; 0 outside it."""
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        source.astype(np.float32), to_source[:3, :3], to_source[:3, 3], shape, order=order, prefilter=False
    )
    return sampled


def _exposed(
    picture: Picture, image: NDArray[np.float32], brain: NDArray[np.bool_] | None, seed: int
) -> NDArray[Any]:
    """An image with noise, in the values that are stored; without a brain mask the whole head is left."""
    random = np.random.default_rng([seed, picture.visit.number, CONTRASTS.index(picture.shows)])
    image = np.float32(PEAK) * np.abs(image + NOISE * random.standard_normal(image.shape, np.float32))
    if brain is not None:
        image = np.where(brain, np.maximum(image, 1), 0)
        if picture.standardised:
            image = (image - image[brain].mean()) / image[brain].std()
            return image.astype(picture.stored or "float32")
    return np.rint(image).astype(picture.stored or "int16")


def _labels(head: Drawn, picture: Picture) -> NDArray[np.uint8]:
    """The lesion in shells of about equal volume, one for each label, and what lies beside it."""
    labels = np.zeros(DRAWN.shape, np.uint8)
    if picture.beside is not None:
        labels[draw_ellipsoid(DRAWN, (36, -40, 24), (9, 9, 9)) & head.brain] = picture.beside
    depth = ndimage.distance_transform_edt(head.lesion)[head.lesion]
    order = np.argsort(np.argsort(depth, kind="stable"))
    shell = order * len(picture.labels) // max(len(order), 1)
    labels[head.lesion] = np.array(picture.labels, np.uint8)[shell]
    return labels


def write_scan(path: Path, stored: Stored, code: str = "scanner") -> None:
    """Write NIfTI, compressed or not, or an Analyze pair, by the file's name; same voxels, same bytes.

    `code` says which space sform and qform lead to. Analyze has no place for an affine; its files have a
    fourth axis of length 1, as those of OASIS-1 have.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdr":
        spacing = np.linalg.norm(stored.affine[:3, :3], axis=0)
        array = stored.array if stored.array.ndim == 4 else stored.array[..., None]
        nibabel.AnalyzeImage(array, np.diag([*spacing, 1.0])).to_filename(path)
        return
    image = nibabel.Nifti1Image(stored.array, stored.affine)
    image.set_sform(stored.affine, code=code)
    image.set_qform(stored.affine, code=code)
    image.header.set_xyzt_units("mm")
    write_image(path, image)


def write_image(path: Path, image: nibabel.Nifti1Image) -> None:
    """Write a NIfTI image, compressed or not by the file's name, without the time of day."""
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def read_scan(path: Path) -> Stored:
    """A file that `write_scan` has written."""
    image = nibabel.load(path)
    return Stored(np.asanyarray(image.dataobj), np.asarray(image.affine, np.float64))
