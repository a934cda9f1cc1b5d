"""The phantom: synthetic brain MRI, healthy and with lesions, made on the spot from the ICBM152 template."""

from uadbench.phantom.anatomy import Anatomy, Subject, box, make_anatomy
from uadbench.phantom.cohort import (
    HEALTHY,
    HEALTHY_VARIABLE,
    LESIONS_PER_KIND,
    Member,
    Scans,
    make_member,
    make_scans,
    members,
    paths,
    write_cohort,
    write_volume,
)
from uadbench.phantom.contrast import CONTRASTS, SITES, Site, make_scan
from uadbench.phantom.lesions import KINDS, Lesion, make_lesion

__all__ = [
    "CONTRASTS",
    "HEALTHY",
    "HEALTHY_VARIABLE",
    "KINDS",
    "LESIONS_PER_KIND",
    "SITES",
    "Anatomy",
    "Lesion",
    "Member",
    "Scans",
    "Site",
    "Subject",
    "box",
    "make_anatomy",
    "make_lesion",
    "make_member",
    "make_scan",
    "make_scans",
    "members",
    "paths",
    "write_cohort",
    "write_volume",
]  # fmt: skip
