"""Testing: fixtures of every data set, and the contracts of methods and of data sets.

A fixture is a few phantom people in the layout of a data set, with its file names, tables, labels and voxels;
it lets every data set run end to end without a download. `datasets/<name>/fixture.py` says how it looks:

    KIND         kind of lesion, None for healthy people
    LAYOUTS      names of the known variants of the layout; the first is the usual one
    REPEATS      those of them in which a subject may be scanned twice
    files(visits, layout) -> Iterator[Picture | SliceFolder | Table]
    CORRUPTIONS  corruptions of its own, by name (optional), see `uadbench.testing.corruptions`

The contracts lie in `uadbench.testing.method_contract` and `uadbench.testing.dataset_contract`.
"""

from uadbench.testing.corruptions import Corruption, Scene
from uadbench.testing.fixtures import (
    Table,
    corruption_names,
    fixture_layouts,
    fixture_names,
    write_fixture,
)
from uadbench.testing.heads import Lattice, Picture, Visit
from uadbench.testing.slices import SliceFolder

__all__ = [
    "Corruption",
    "Lattice",
    "Picture",
    "Scene",
    "SliceFolder",
    "Table",
    "Visit",
    "corruption_names",
    "fixture_layouts",
    "fixture_names",
    "write_fixture",
]
