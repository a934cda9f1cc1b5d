"""The average brain that every simulated brain is made from: ICBM152 2009a as nilearn ships it.

Fonov et al., NeuroImage 54 (2011); nilearn reads these files from its own folder, never from the net.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from uadbench.data import icbm152
from uadbench.data.space import Grid, resample
from uadbench.phantom.fields import Map, axes_mm, soft_step

# Box of the brain in MNI152 mm, with room for a head that is 8 % larger.
LOW_MM, HIGH_MM = (-82.0, -116.0, -76.0), (82.0, 82.0, 90.0)
FINE = Grid("template", (165, 199, 167), 1.0, LOW_MM)  # for the tissues
COARSE = Grid("template-2mm", (83, 100, 84), 2.0, LOW_MM)  # for what is smooth anyway
EVIDENCE_DEVIATION = 0.07  # of the template's T1 within a tissue, its maximum being 1
FINE_MAPS = ("csf_logit", "wm_logit", "sulcus", "detail")
ZONES = ("deep", "cerebellum", "brainstem")
LOGIT_LIMIT = 6.0  # a probability of 0.998: beyond that a difference is not seen


@dataclass(frozen=True)
class Template:
    """Maps of the average brain.

    On the FINE grid: `csf_logit` and `wm_logit` are log odds against grey matter; `sulcus` is 1 where
    two banks of cortex meet and 0 elsewhere; `detail` is what the T1 template shows beyond its tissues
    (nuclei, tracts, folia), its maximum being 1.
    On the COARSE grid: distances in mm to the brain's border (positive inside) and to the cerebral
    ventricles (negative inside), and soft zones in [0, 1].
    """

    csf_logit: Map
    wm_logit: Map
    sulcus: Map
    detail: Map
    depth_mm: Map
    ventricle_mm: Map
    deep: Map  # basal ganglia and thalamus
    cerebellum: Map
    brainstem: Map


def _read(name: str) -> Map:
    """One of the maps that nilearn ships on the FINE grid, in [0, 1]."""
    values, first_mm = icbm152.read_map(name)
    first = [round(low - float(start)) for low, start in zip(LOW_MM, first_mm, strict=True)]
    inside = tuple(slice(max(0, f), f + n) for f, n in zip(first, FINE.shape, strict=True))
    found = np.zeros(FINE.shape, np.float32)
    part = values[inside]
    before = [max(0, -f) for f in first]
    found[tuple(slice(b, b + n) for b, n in zip(before, part.shape, strict=True))] = part
    return found


def _distance_mm(inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], spacing_mm: float) -> Map:
    """Signed distance to the border of a region, positive inside, lightly smoothed."""
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(ndimage.gaussian_filter(signed * spacing_mm, 1.0), np.float32)


def _ellipsoid(centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]) -> Map:
    """A soft ellipsoid on the COARSE grid: 1 inside, 0 outside, over about a sixth of its radius."""
    terms = [((m - c) / r) ** 2 for m, c, r in zip(axes_mm(COARSE), centre_mm, radii_mm, strict=True)]
    return soft_step(1 - np.sqrt(terms[0] + terms[1] + terms[2]), 0.35)


def _ventricles(csf: Map) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The lateral and third ventricles on the COARSE grid: CSF in an ellipsoid around them."""
    around = _ellipsoid((0.0, -14.0, 8.0), (40.0, 50.0, 26.0)) > 0.5
    # The ambient cistern behind the thalamus is CSF too, but no ventricle.
    _, back, up = axes_mm(COARSE)
    labels, _ = ndimage.label((csf > 0.5) & around & ~((back < -32) & (up < -2)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_opening(labels == sizes.argmax()) | (labels == sizes.argmax()))


def _without_rim(gm: Map, near: Map) -> Map:
    """Grey matter without the thin rim that averaging leaves where ventricles meet white matter."""
    thick = ndimage.grey_opening(gm, (5, 5, 5))
    return np.asarray(gm + near * (np.minimum(gm, 1.2 * thick) - gm), np.float32)


def _sulcus(wm_logit: Map) -> Map:
    """The middle sheet of each sulcus: there the distance from white matter stops growing.

    The average's cortex is wider than any subject's, and a sulcus in it is where both banks touch.
    """
    distance = ndimage.distance_transform_edt(wm_logit < 0).astype(np.float32)
    slopes = np.gradient(ndimage.gaussian_filter(distance, 1.0))
    ridge = 1 - np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
    return np.asarray(ridge.clip(0, 1) * soft_step(distance - 2.0, 2.0), np.float32)


def _logits(t1: Map, gm: Map, wm: Map, csf: Map, near: Map) -> tuple[Map, Map, Map]:
    """Log odds of CSF and of white against grey matter, and the T1 detail beyond the tissues.

    The average's tissue maps blur the sulci; its T1 still shows them, so both are combined by
    Bayes' rule as in SPM's segmentation (Ashburner & Friston, NeuroImage 26, 2005).
    """
    means = [float(np.median(t1[(p > 0.9) & (t1 > 0)])) for p in (csf, gm, wm)]
    evidence = [-0.5 * ((t1 - mean) / EVIDENCE_DEVIATION) ** 2 * (1 - near) for mean in means]
    log_prior = [np.log(np.maximum(p, 1e-3)) for p in (csf, gm, wm)]
    scores = [p + e for p, e in zip(log_prior, evidence, strict=True)]
    csf_logit = np.clip(scores[0] - scores[1], -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float32)
    wm_logit = np.clip(scores[2] - scores[1], -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float32)
    odds = np.exp(csf_logit), np.exp(wm_logit)
    expected = (means[0] * odds[0] + means[1] + means[2] * odds[1]) / (1 + odds[0] + odds[1])
    detail = np.where(csf > 0.2, 0, np.clip(t1 - expected, -0.1, 0.1))
    return csf_logit, wm_logit, np.asarray(ndimage.gaussian_filter(detail, 0.7), np.float32)


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The template, made once per process (about three seconds)."""
    t1, gm, wm = map(_read, ("t1", "gm", "wm"))
    brain = ndimage.binary_opening(resample(t1, FINE, COARSE) > 0.1, iterations=4)
    brain = ndimage.binary_fill_holes(brain)
    depth = _distance_mm(brain, COARSE.spacing_mm)
    csf = np.clip(1 - gm - wm, 0, 1).astype(np.float32)
    ventricle = -_distance_mm(_ventricles(resample(csf, FINE, COARSE)), COARSE.spacing_mm)
    near = resample(soft_step(4.0 - ventricle, 3.0), COARSE, FINE)
    solid_gm = _without_rim(gm, near)
    share = (gm - solid_gm) / np.maximum(wm + csf, 1e-3)
    wm, csf = wm + share * wm, csf + share * csf
    csf_logit, wm_logit, detail = _logits(t1, solid_gm, wm, csf, near)
    return Template(
        csf_logit=csf_logit,
        wm_logit=wm_logit,
        sulcus=_sulcus(wm_logit),
        detail=detail,
        depth_mm=depth,
        ventricle_mm=ventricle,
        deep=_ellipsoid((0.0, -5.0, 5.0), (36.0, 34.0, 19.0)),
        cerebellum=_ellipsoid((0.0, -64.0, -38.0), (58.0, 34.0, 26.0)),
        brainstem=_ellipsoid((0.0, -28.0, -40.0), (17.0, 16.0, 36.0)),
    )
