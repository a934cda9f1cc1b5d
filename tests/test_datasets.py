"""The contract of every data set: what its card must say, and what its folder must hold."""

from pathlib import Path

import pytest

from uadbench import catalog, datasets, testing
from uadbench.cards import dataset_card
from uadbench.preprocessing.verify import verify
from uadbench.protocol import PROTOCOLS, regime
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent

EVERY = pytest.mark.parametrize("name", datasets.names())


@EVERY
def test_a_card_states_what_a_user_must_know(name: str) -> None:
    card = dataset_card(name)

    for fact in (
        card.title,
        card.summary,
        card.address,
        card.access,
        card.licence,
        card.citation,
        card.layout,
    ):
        assert fact.strip(), f"an empty fact in {name}"
    assert card.contrasts
    assert card.protocol in PROTOCOLS
    assert set(card.expected) <= set(card.contrasts)
    assert all(reason for reason in card.exclusions.values())


@EVERY
def test_fractions_leave_subjects_to_test_on(name: str) -> None:
    card = dataset_card(name)

    for fractions in (card.healthy_split, card.lesion_split):
        assert all(0 <= share < 1 for share in fractions.values())
        assert sum(fractions.values()) < 1
    assert card.role != "healthy" or card.healthy_split.get("train")


@EVERY
def test_partners_are_healthy_sets_that_have_the_contrast(name: str) -> None:
    card = dataset_card(name)

    for contrast, partners in card.partners.items():
        assert contrast in card.contrasts
        for partner in partners:
            other = dataset_card(partner)
            assert other.role in ("healthy", "both")
            assert contrast in other.contrasts
            assert regime(other, card) in ("cross", "phantom", "synthetic", "within")


@EVERY
def test_a_root_with_nothing_in_it_says_where_to_apply_and_what_is_expected(
    name: str, tmp_path: Path
) -> None:
    address = dataset_card(name).address

    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError) as caught:
            datasets.find_sessions(name, root)
        assert address in str(caught.value)
        assert "expected is" in str(caught.value)


@EVERY
def test_an_adapter_is_one_short_file(name: str) -> None:
    lines = (catalog.locate("datasets", name) / "dataset.py").read_text().splitlines()

    assert len(lines) <= 90


# What a data set draws is the subject of its own tests.
WITH_FIXTURE = [name for name in testing.names() if not datasets.can_draw(name)]


@pytest.mark.parametrize("name", WITH_FIXTURE)
def test_a_fixture_is_what_its_adapter_reads(name: str, tmp_path: Path) -> None:
    testing.write_fixture(name, tmp_path / "fixture", subjects=1)
    found = datasets.find_sessions(name, tmp_path / "fixture")

    assert found.left_out == ()
    assert {contrast for s in found.sessions for contrast in s.images} <= set(found.card.contrasts)
    assert verify(found, 1, Silent()).ok
