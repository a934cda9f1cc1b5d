"""The phantom: synthetic brain MRI, healthy and with lesions, drawn from the ICBM152 template."""

from uadbench.phantom.anatomy import Anatomy, Subject, crop_box, make_anatomy
from uadbench.phantom.cohort import (
    HEALTHY,
    HEALTHY_VARIABLE,
    LESIONS_PER_KIND,
    SEED,
    SEED_VARIABLE,
    Member,
    Scans,
    list_files,
    make_member,
    make_members,
    make_scans,
    write_cohort,
    write_volume,
)
from uadbench.phantom.contrast import CONTRASTS, SITES, Site, make_scan
from uadbench.phantom.lesions import KINDS, Lesion, make_lesion

__all__ = [
    "CONTRASTS", "HEALTHY", "HEALTHY_VARIABLE", "KINDS", "LESIONS_PER_KIND", "SEED", "SEED_VARIABLE",
    "SITES", "Anatomy", "Lesion", "Member", "Scans", "Site", "Subject", "crop_box", "list_files",
    "make_anatomy", "make_lesion", "make_member", "make_members", "make_scan", "make_scans",
    "write_cohort", "write_volume",
]  # fmt: skip
