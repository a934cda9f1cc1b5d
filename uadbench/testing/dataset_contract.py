"""What every data set promises: what its card must say, and how its adapter behaves.

Each check is a function of a data set's name; it raises an AssertionError with the sentence to tell.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from uadbench import datasets
from uadbench.cards import dataset_card
from uadbench.preprocessing.verify import verify
from uadbench.protocol import PROTOCOLS, regime
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent
from uadbench.testing import fixture_names, write_fixture
from uadbench.testing.findings import Finding, demand, run_check


def check_card_is_complete(name: str) -> None:
    """What a user must know."""
    card = dataset_card(name)
    for key in ("title", "summary", "address", "access", "licence", "citation", "layout"):
        demand(getattr(card, key).strip(), f"card.toml says nothing of `{key}`.")
    demand(card.protocol in PROTOCOLS, f"card.toml names an unknown protocol, {card.protocol}.")
    demand(all(card.exclusions.values()), "card.toml excludes a subject without a reason.")


def check_fractions_leave_subjects_to_test_on(name: str) -> None:
    """And a healthy set leaves some to learn from."""
    card = dataset_card(name)
    for key, shares in (("healthy_split", card.healthy_split), ("lesion_split", card.lesion_split)):
        demand(sum(shares.values()) < 1, f"The shares of {key} leave nobody to test on.")
    learns = card.role != "healthy" or card.healthy_split.get("train")
    demand(learns, "A healthy set needs a share `train` in healthy_split.")


def check_partners_are_healthy_and_have_the_contrast(name: str) -> None:
    """The healthy sets that are learned from."""
    card = dataset_card(name)
    for contrast, partners in card.partners.items():
        for partner in map(dataset_card, partners):
            healthy = partner.role in ("healthy", "both")
            demand(healthy, f"The partner {partner.name} has no healthy subjects.")
            demand(contrast in partner.contrasts, f"The partner {partner.name} has no {contrast}.")
            regime(partner, card)


def check_empty_root_says_where_to_apply(name: str) -> None:
    """And what is expected there."""
    with tempfile.TemporaryDirectory() as folder:
        for root in (Path(folder), Path(folder) / "absent"):
            try:
                datasets.find_sessions(name, root)
            except UserError as error:
                said = dataset_card(name).address in str(error) and "expected: " in str(error)
                demand(said, f"Of an empty root it is said: {error}")
            else:
                raise AssertionError("In an empty root it finds subjects.")


def check_fixture_is_what_the_adapter_reads(name: str) -> None:
    """Every file of `uadbench fixture` is used and in order; what a data set draws has tests of its own."""
    if name not in fixture_names() or datasets.can_draw(name):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "fixture"
        write_fixture(name, root, subjects=1)
        found = datasets.find_sessions(name, root)
        left = ", ".join(f"{one.id} ({one.reason})" for one in found.left_out)
        demand(not left, f"Of its fixture is left out: {left}")
        stray = {contrast for s in found.sessions for contrast in s.images} - set(found.card.contrasts)
        demand(not stray, f"card.toml does not list the contrasts {', '.join(sorted(stray))}.")
        problems = verify(found, 1, Silent()).problems
        demand(not problems, f"verify finds in its fixture: {'; '.join(map(str, problems))}")


CHECKS = tuple(check for name, check in list(globals().items()) if name.startswith("check_"))


def check_dataset(name: str) -> Iterator[Finding]:
    """What each check finds of a data set."""
    dataset_card(name)  # an unknown name, or a card that cannot be read, is the user's mistake
    return (run_check(check, name) for check in CHECKS)
