"""What every data set promises, see `uadbench.testing.dataset_contract`."""

from collections.abc import Callable

import pytest

from uadbench import catalog, datasets
from uadbench.testing.dataset_contract import CHECKS
from uadbench.testing.findings import name_check

NAMES = datasets.names()


@pytest.mark.parametrize("check", CHECKS, ids=name_check)
@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_keeps_its_promises(name: str, check: Callable[[str], None]) -> None:
    check(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_one_short_file(name: str) -> None:
    lines = (catalog.locate("datasets", name) / "dataset.py").read_text().splitlines()

    assert len(lines) <= 90
