"""Host: one healthy scan that lesions are put into, from its file to the files of the implanted scans."""

import gzip
import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.data.implanted import ImplantedLesion
from uadbench.data.session import LeftOut, Session
from uadbench.data.suffixes import files_of
from uadbench.implant.lesion import Host, Implant, implant
from uadbench.implant.order import Order
from uadbench.implant.shapes import RealShape
from uadbench.implant.tissue import find_tissue
from uadbench.preprocessing import brains, extract, scan
from uadbench.preprocessing.nifti import Header, read_header
from uadbench.preprocessing.register import register_brain
from uadbench.system.errors import SubjectError
from uadbench.system.files import replacing, sha256, sha256_file

GREY = "grey"  # in names, where the contrast is that of grey matter


@dataclass(frozen=True)
class Job:
    """What a worker process needs beside the session."""

    contrast: str
    order: Order
    shapes: Sequence[RealShape]
    folder: Path
    cache: Path


def inject_scan(job: Job, session: Session) -> list[ImplantedLesion] | LeftOut:
    """Write all implanted scans of one healthy scan, and answer their lesions; none where one cannot be."""
    try:
        header = read_header(session.images[job.contrast], session.orientation)
        host = read_host(job, session, header)
        order, writer, lesions = job.order, Writer(job, session, header, host), list[ImplantedLesion]()
        for ml in order.sizes:
            for one in implant(host, order, ml, job.shapes, _seed(job, session)):
                lesions += writer.write(ml, one)
    except (SubjectError, MemoryError) as error:
        for top in ("lesion", "masks", "brains"):
            shutil.rmtree(job.folder / top / name_folder(session), ignore_errors=True)
        return LeftOut(session.id, str(error) or "not enough memory for this scan: use fewer --workers")
    return lesions


def name_folder(session: Session) -> str:
    """The name of a subject's folders, which is the subject's where a file may have that name."""
    name = re.sub(r"^[.]+|[^\w.-]", "_", session.subject)
    return name if name == session.subject else f"{name}_{sha256(session.subject)[:6]}"


def _seed(job: Job, session: Session) -> list[int]:
    """Of a subject's random numbers, whatever the other subjects."""
    digest = hashlib.sha256(f"{session.cohort}:{session.id}:{job.order.kind}".encode()).digest()
    return [job.order.seed, int.from_bytes(digest[:8], "big")]


def read_host(job: Job, session: Session, header: Header) -> Host:
    """The scan with brain and tissue; what is in the way is a SubjectError."""
    name, path = f"{session.id} {job.contrast}", session.images[job.contrast]
    image = scan.read_image(path, session.orientation)
    named = [*session.images.values(), session.brain_mask, *session.contrast_masks.values()]
    digests = {str(p): sha256_file(p) for file in named if file is not None for p in files_of(file)}
    kept = brains.Kept(job.cache, extract.DEFAULT, digests)
    brain, _ = brains.find_brain(session, job.contrast, image, kept)
    in_template = session.space == "MNI152"
    to_template = np.eye(4) if in_template else register_brain(image, brain, name).matrix
    stored = scan.read_stored(header)
    tissue = find_tissue(stored, brain, to_template, name)
    return Host(name, stored, brain, tissue, to_template, 1 if header.slope > 0 else -1)


@dataclass(frozen=True)
class Writer:
    """Writes the scans of one subject."""

    job: Job
    session: Session
    header: Header
    host: Host

    def write(self, ml: float, made: Implant) -> list[ImplantedLesion]:
        """One scan with its masks."""
        subject = name_folder(self.session)
        visit = f"{ml:g}ml-" + (GREY if made.contrast is None else f"cnr{made.contrast:g}")
        stem = f"{subject}_{visit}_{self.job.contrast}"
        image = f"lesion/{subject}/{visit}/{stem}.nii.gz"
        mask = np.any([region.mask for region in made.regions], axis=0)
        self._save(image, made.values, scaled=True)
        self._save(f"masks/{subject}/{visit}/{stem}_mask.nii.gz", mask.astype(np.uint8))
        self._save(f"brains/{subject}/{visit}/{stem}_brain.nii.gz", self.host.brain.astype(np.uint8))
        return [self._row(image, ml, made, number) for number in range(len(made.regions))]

    def _save(self, name: str, array: NDArray[Any], scaled: bool = False) -> None:
        """A volume (R, A, S) in the storage order of the source; `scaled` as the source's values are."""
        stored = np.asarray(scan.turn_back(array, self.header))
        image = nibabel.Nifti1Image(stored, self.header.affine, dtype=stored.dtype)
        image.header.set_xyzt_units("mm")
        if scaled:
            image.header.set_slope_inter(self.header.slope, self.header.intercept)
        with replacing(self.job.folder / name) as partial_file:
            partial_file.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))

    def _row(self, image: str, ml: float, made: Implant, number: int) -> ImplantedLesion:
        """The line of one lesion in the table."""
        region, scale = made.regions[number], abs(self.header.slope)
        affine = self.host.image.affine
        middle = affine[:3, :3] @ np.argwhere(region.mask).mean(0) + affine[:3, 3]
        return ImplantedLesion(
            image=image,
            subject=name_folder(self.session),
            kind=self.job.order.kind,
            shape=region.shape,
            asked_ml=ml,
            ml=float(region.mask.sum() * self.host.image.voxel_ml),
            asked_contrast=made.contrast,
            contrast=made.measured[number],
            offset=made.offsets[number] * self.header.slope,
            noise=made.noises[number] * scale,
            edge_mm=region.edge_mm,
            right_mm=float(middle[0]),
            front_mm=float(middle[1]),
            up_mm=float(middle[2]),
            source=self.session.id,
            source_sha256=sha256_file(self.header.body),
            transform=" ".join(f"{number:.9g}" for number in self.host.to_template[:3].ravel()),
        )
