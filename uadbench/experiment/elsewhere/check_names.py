"""Check of the names of a record of maps that were made elsewhere."""

from collections.abc import Iterator

from uadbench.cards import dataset_card
from uadbench.catalog import names
from uadbench.experiment.record import ELSEWHERE, RunRecord, Stored
from uadbench.protocol import regime
from uadbench.system.errors import UserError


def check_names(stored: Stored) -> Iterator[str]:
    """Whether place, method, variant and test are what they may be: no method of ours, and a test that is."""
    made = stored.record
    if not stored.in_place:
        yield f"the file is at {stored.path.name} in another folder than its facts say: {made.place}"
    if made.method in names("methods"):
        yield f"{made.method} is a method of this benchmark, and its maps were made elsewhere"
    if made.variant.split(",")[0] != ELSEWHERE:
        yield f"the variant {made.variant} does not say that the maps were made elsewhere"
    if made.elsewhere is None or not made.elsewhere.own_truth:
        yield from _check_test(made)
    elif made.test in names("datasets"):
        yield f"{made.test} is a data set of this benchmark, and the lesion masks are not its own"


def _check_test(made: RunRecord) -> Iterator[str]:
    """Whether the record states of a data set of ours what its card says."""
    try:
        test = dataset_card(made.test)
        train = dataset_card(made.train) if made.train else None
    except UserError as error:
        yield str(error)
        return
    if made.contrast not in test.contrasts:
        yield f"{made.test} has no contrast {made.contrast}"
    if made.regime not in (regime(train, test), "phantom"):  # a fixture of a real set is a phantom
        yield f"the training setting is {regime(train, test)} for these cohorts, not {made.regime}"
    if (made.card_version, made.headline) != (test.version, test.headline):
        yield f"the card of {made.test} is of version {test.version} and ranks by {test.headline}"
