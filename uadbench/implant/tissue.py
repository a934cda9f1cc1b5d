"""Tissue: where the white matter of a real scan is, and where a lesion of each kind may begin.

Of no contrast in particular: the template, brought to the scan by the protocol's affine registration, says
where white and grey matter should be, and the scan's own intensities say where they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.phantom import fields, template
from uadbench.phantom.fields import Map, soft_step
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

SMOOTH_MM = 1.0  # deviation of the Gaussian after which a voxel's tissue is told: noise alone tells nothing
LOCAL_MM = 15.0  # deviation of the Gaussian over which a tissue's own brightness may drift: the bias field
CERTAIN = 2.0  # log odds of a tissue in the template from which the level of the tissue is learned
CERTAIN_DEPTH_MM = 4.0
SPREAD = 2.5  # robust standard deviations within which a voxel is of a tissue
BEYOND = 0.75  # of the difference of white and grey matter, beyond which a voxel is neither
FEWEST_CERTAIN_ML = 5.0
LACUNE_MM = 7.8  # radius of a ball of 2 ml: larger infarcts are an artery's territory
MAPS = ("wm_logit", "csf_logit", "ventricle_mm", "deep", "cerebellum", "brainstem")  # of the template
MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


@dataclass(frozen=True)
class Tissue:
    """What lies where in a scan; all maps are (R, A, S) on its voxels.

    `white` and `grey` are the local levels of both tissues in the units of the scan that was given.
    """

    white_matter: NDArray[np.bool_]  # normal-appearing, by place and intensity
    parenchyma: NDArray[np.bool_]  # white and grey matter, without fluid
    white: Map
    grey: Map
    depth_mm: Map  # below the border of the scan's own brain mask; 0 outside
    place: Mapping[str, Map]  # of the template: `ventricle_mm`, `cerebrum`, `deep`
    to_template: NDArray[np.float64]  # (4, 4) world mm of the scan -> MNI152 mm

    def away_from_ventricle(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """The direction (3,) in the scan's world in which the distance from the ventricles grows fastest."""
        steps = np.concatenate([np.eye(3), -np.eye(3)]) * 2.0 + point
        there = _at(self.to_template, steps.T)
        distance = fields.sample(template.load_template().ventricle_mm, template.COARSE, there)
        return np.asarray(distance[:3] - distance[3:], np.float64)


def find_tissue(image: Scan, brain: NDArray[np.bool_], to_template: NDArray[np.float64], name: str) -> Tissue:
    """The tissue of a scan (R, A, S) with its brain mask; SubjectError where no white matter is found."""
    place = _place(image, brain, to_template)
    depth = ndimage.distance_transform_edt(brain, sampling=image.spacing_mm).astype(np.float32)
    deep_enough = depth > CERTAIN_DEPTH_MM
    no_fluid = place["csf_logit"] < -CERTAIN
    values = _smooth(image.array.astype(np.float32), brain, SMOOTH_MM / image.spacing_mm)
    known = {
        "white": brain & deep_enough & no_fluid & (place["wm_logit"] > CERTAIN),
        "grey": brain & deep_enough & no_fluid & (place["wm_logit"] < -CERTAIN),
    }
    for tissue, where in known.items():
        if where.sum() * image.voxel_ml < FEWEST_CERTAIN_ML:
            raise SubjectError(f"{name} shows too little {tissue} matter where the template has it.")
    level = {tissue: _local(values, where, image, brain) for tissue, where in known.items()}
    spread = _robust(values[known["white"]] - level["white"][known["white"]])
    near_white = np.abs(values - level["white"]) <= SPREAD * spread
    # Fluid is further from both tissues than they are from each other.
    low, high = np.minimum(*level.values()), np.maximum(*level.values())
    beyond = BEYOND * (high - low)
    solid = near_white | ((values > low - beyond) & (values < high + beyond))
    no_ventricle = (place["csf_logit"] < 0) & (place["ventricle_mm"] > 0)
    return Tissue(
        white_matter=brain & near_white & no_ventricle & (place["wm_logit"] > 0),
        parenchyma=brain & solid & no_ventricle,
        white=level["white"],
        grey=level["grey"],
        depth_mm=depth,
        place={key: place[key] for key in ("ventricle_mm", "cerebrum", "deep")},
        to_template=to_template,
    )


def _at(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> Map:
    """Points (3, n) through an affine."""
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:], np.float32)


def _place(image: Scan, brain: NDArray[np.bool_], to_template: NDArray[np.float64]) -> dict[str, Map]:
    """The template's maps on the voxels of a brain, 0 elsewhere."""
    there = _at(to_template @ image.affine, np.argwhere(brain).T.astype(np.float64))
    source = template.load_template()

    def spread(values: Map) -> Map:
        whole = np.zeros(brain.shape, np.float32)
        whole[brain] = values
        return whole

    grids = {key: template.FINE if key in template.FINE_MAPS else template.COARSE for key in MAPS}
    found = {key: fields.sample(getattr(source, key), grid, there) for key, grid in grids.items()}
    found["cerebrum"] = 1 - np.maximum(found["cerebellum"], found["brainstem"])
    return {key: spread(values) for key, values in found.items()}


def _smooth(values: Map, where: NDArray[np.bool_], sigma: NDArray[np.float64]) -> Map:
    """Gaussian mean of the values of some voxels, (R, A, S); sigma in voxels along each axis."""
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(where, values, 0).astype(np.float32), sigma)
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)


def _local(values: Map, where: NDArray[np.bool_], image: Scan, brain: NDArray[np.bool_]) -> Map:
    """The level of a tissue around each voxel of the brain, from where the tissue is for certain."""
    middle = float(np.median(values[where]))
    spread = _robust(values[where] - middle)
    usual = where & (np.abs(values - middle) <= SPREAD * spread)
    level = _smooth(values, usual, LOCAL_MM / image.spacing_mm)
    return np.where(brain & (level > 0), level, middle).astype(np.float32)


def _robust(values: Map) -> float:
    """Standard deviation by the median absolute deviation."""
    return float(MAD * np.median(np.abs(values - np.median(values))))


Weight = Callable[[Tissue, float], Map]


def weigh_white(tissue: Tissue, radius_mm: float) -> Map:
    """White matter of the cerebrum, deep enough for a ball of that radius where there is room."""
    deep_enough = soft_step(tissue.depth_mm - np.float32(4 + radius_mm), 4)
    return np.asarray(tissue.place["cerebrum"] * deep_enough)


def weigh_beside_ventricle(tissue: Tissue, radius_mm: float) -> Map:
    """White matter, mostly beside the ventricles, as plaques and the changes of age lie."""
    beside = np.exp(-((np.maximum(tissue.place["ventricle_mm"] - np.float32(radius_mm), 0) / 8) ** 2))
    return np.asarray(weigh_white(tissue, 0.0) * (0.1 + beside))


def weigh_cortex(tissue: Tissue, radius_mm: float) -> Map:
    """Below the cortex where an infarct is large, near the nuclei where it is a lacune."""
    if radius_mm < LACUNE_MM:
        return np.asarray(tissue.place["cerebrum"] * (0.1 + tissue.place["deep"]))
    return np.asarray(tissue.place["cerebrum"] * soft_step(np.float32(12) - tissue.depth_mm, 4))
