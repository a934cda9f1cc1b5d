"""Check of a record made elsewhere: do its numbers follow from its pieces, and its names from its facts?

It proves that a record is consistent, not that it is authentic: whoever invents scores and counts them
correctly passes. `CANNOT_SEE` says what else does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench import methods
from uadbench.cards import dataset_card, method_card
from uadbench.data import splits
from uadbench.data.session import Session
from uadbench.experiment import record
from uadbench.experiment.check_phantom import PHANTOM, check_phantom
from uadbench.experiment.config import RunConfig, name_variant
from uadbench.experiment.elsewhere.check_names import check_names
from uadbench.experiment.facts import SubjectResult
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import NONE_OF, RunRecord, Stored
from uadbench.protocol import regime
from uadbench.system.errors import UserError
from uadbench.system.files import sha256_json

MOST_EXCLUDED = 0.1  # of the lesion-test scans of a split, and one in any case

CANNOT_SEE = (
    "scores that were invented and counted correctly, or are of another method than the named one",
    "which weights, options or masks were used: hashes of fits and data cannot be made again from a record",
    "in which part of a published split a subject is, where a release was published in parts",
    "who is in healthy-train: it is not scored, so that its hash is taken as stated",
    "how many lesions were found, and what was dropped after the threshold: the pieces count voxels",
    "the top of a scan's scores: only a scan score that is too low for its voxels is found",
    "a patient who was excluded though the scan could be prepared, unless another record here has scored it",
    "two patients of one partition whose names were exchanged throughout, or a copy whose hashes and times "
    "were changed, unless another record of the same test is in the same results folder",
    "a simulated data set under the name of a real one, where it states no ages",
)


@dataclass(frozen=True)
class Checked:
    """What is wrong with a record, and what a reader should know of it besides."""

    wrong: Sequence[str]
    remarks: Sequence[str] = ()


def check_records(files: Sequence[Path]) -> dict[Path, Checked]:
    """Every file with what is wrong with it; what is no record at all is that file's fault alone."""
    found: dict[Path, Checked] = {}
    for file in files:
        try:
            found[file] = check_record(file)
        except UserError as error:
            found[file] = Checked([str(error)])
    return found


def check_record(path: Path) -> Checked:
    """What is wrong with a record and what is remarkable.

    Raises:
        UserError: the file is no record, or its pieces are not those it names.
    """
    made = record.read_record(path)
    stored = Stored(made, path)
    wrong = list(_names(stored))
    if wrong:
        return Checked(wrong)  # nothing else can be recomputed
    wrong = [
        *_variant(made),
        *_people(made),
        *_exclusions(made),
        *check_phantom(made),
        *wrong_figures(stored),
    ]
    remarks = list(_remarks(made))
    for other in _beside(stored):
        of_copies, honest = _copies(made, other)
        wrong += [*of_copies, *_disagreements(made, other)]
        remarks += honest
    return Checked(wrong, remarks)


# ---- names -------------------------------------------------------------------------------------


def _names(stored: Stored) -> Iterator[str]:
    """Whether the data sets, the method and the place are what they are said to be."""
    made = stored.record
    if made.elsewhere is not None:
        yield from check_names(stored)
        return
    try:
        test = dataset_card(made.test)
        train = dataset_card(made.train) if made.train else None
        card = method_card(made.method)
    except UserError as error:
        yield str(error)
        return
    if not stored.in_place:
        yield f"the file is at {stored.path.name} in another folder than its facts say: {made.place}"
    if made.contrast not in test.contrasts:
        yield f"{made.test} has no contrast {made.contrast}"
    if made.regime not in (regime(train, test), "phantom"):  # a fixture of a real set is a phantom
        yield f"the training setting is {regime(train, test)} for these cohorts, not {made.regime}"
    stated = {"trained": card.trained, "card_version": test.version, "headline": test.headline}
    for name, expected in stated.items():
        if getattr(made, name) != expected:
            yield f"{name} is {getattr(made, name)}, the card says {expected}"
    homes = {f"{NONE_OF}{made.test}", f"{NONE_OF}{made.train}", *splits.PARTITIONS}
    for stray in [item for item in made.excluded if item.partition not in homes][:1]:
        yield f"{stray.id} is excluded of {stray.partition}, which is no partition"


def _variant(made: RunRecord) -> Iterator[str]:
    """Whether the variant's name says in what the row differs from its preset."""
    if made.elsewhere is not None:
        return  # a method that is not here has no preset
    card, cards = method_card(made.method), [dataset_card(n) for n in (made.test, made.train) if n]
    try:
        config = RunConfig.of(made)
        method = methods.build(card, config.preset, config.settings, config.untrained)
    except UserError as error:
        yield str(error)
        return
    expected = name_variant(config, card, method, cards, made.contrast, tuple(made.train_contrasts))
    if made.variant != expected:
        missing = [word for word in expected.split(",") if word not in made.variant.split(",")]
        for word in missing or [expected]:
            key = word.partition("=")[0]
            option = f"option {key} differs from preset {made.preset}"
            what = option if key in made.parameters else f"the row is of {word}"
            yield f"{what}, which '{made.variant}' does not say"


# ---- people ------------------------------------------------------------------------------------


def _people(made: RunRecord) -> Iterator[str]:
    """Who was tested: each once, in the partition that the rule gives, and as many as were planned."""
    scored: dict[str, list[SubjectResult]] = {}
    for subject in made.subjects:
        scored.setdefault(subject.partition, []).append(subject)
    if "lesion-test" not in scored:
        yield "no scan of lesion-test was scored"
    for partition, members in scored.items():
        if partition not in made.splits:
            yield f"{partition} was scored, but the split has no such partition"
            continue
        if len({s.id for s in members}) < len(members):
            yield f"a subject is listed twice in {partition}"
        if made.elsewhere is None or not made.elsewhere.own_truth:
            yield from _homes(made, partition, members)
    for partition, planned in made.splits.items():
        if partition == "healthy-train":
            continue
        there = scored.get(partition, [])
        left_out = [item for item in made.excluded if item.partition == partition]
        # As `uadbench.data.splits.split_hash` lists them.
        who = [[s.cohort, s.person, s.session, s.id] for s in there]
        who += [[e.cohort or "", e.person or "", e.session or "", e.id] for e in left_out]
        if len(who) != planned.subjects:
            yield (
                f"{partition} has {planned.subjects} scans in the split, but {len(there)} were scored and "
                f"{len(left_out)} are listed as excluded"
            )
        elif sha256_json(sorted(who)) != planned.hash:
            yield f"the hash of {partition} is not that of the subjects who were scored or excluded"
        persons = len({(cohort, person) for cohort, person, _, _ in who})
        if persons != planned.persons:
            yield f"{partition} has {planned.persons} subjects in the split, but {persons} are listed"


def _homes(made: RunRecord, partition: str, members: Sequence[SubjectResult]) -> Iterator[str]:
    supplier = made.train if partition.startswith("healthy") else made.test
    for subject in members:
        if subject.cohort != supplier:
            yield f"{subject.id} of {partition} is of {subject.cohort}, but the partition is of {supplier}"
            return
        home = _home(made, subject)
        if home != partition:
            yield f"{subject.id} is in {partition}, but the split puts its subject into {home}"


def _home(made: RunRecord, one: SubjectResult) -> str | None:
    """The partition of a subject by the split that was asked for; None: none of those that are scored."""
    card = splits.apply_rule(dataset_card(one.cohort), made.split.asked)
    if card.published_split:
        return one.partition  # which part of the release a subject is in, the record does not say
    healthy = one.partition.startswith("healthy")
    session = Session(id=one.id, cohort=one.cohort, subject=one.person, images={}, healthy=healthy)
    return splits.find_partition(session, card)


def _exclusions(made: RunRecord) -> Iterator[str]:
    """Not more scans may fail than a result survives; of the phantom, whose scans are made here, none."""
    tested = [item for item in made.excluded if item.partition in ("lesion-test", "healthy-test")]
    for item in tested:
        if (item.cohort or made.test) == PHANTOM:
            yield f"{item.id} of the phantom is excluded ({item.reason}): each of its scans can be prepared"
    of_lesions = sum(item.partition == "lesion-test" for item in tested)
    planned = made.splits["lesion-test"].subjects if "lesion-test" in made.splits else 0
    if of_lesions > max(1, MOST_EXCLUDED * planned):
        yield f"{of_lesions} of {planned} scans of lesion-test are excluded: more than a tenth"


# ---- beside other records ----------------------------------------------------------------------


def _beside(stored: Stored) -> Iterator[Stored]:
    """Every other record of the same test in the same results folder."""
    made = stored.record
    parts = len(made.place.parts)
    root = stored.path.absolute().parents[parts - 1]
    for path in record.paths_of_records(root):
        if path == stored.path.absolute():
            continue
        try:
            other = record.parse_record(path)
        except UserError:
            continue  # that is its own fault
        if (other.test, other.contrast, other.protocol) == (made.test, made.contrast, made.protocol):
            yield Stored(other, path)


def _copies(made: RunRecord, other: Stored) -> tuple[list[str], list[str]]:
    """Whether the pieces are those of another record, as a fault, or as a remark where that may be honest."""
    twin = other.record
    where = f"{twin.method} {twin.variant} seed {twin.seed}"
    row = (made.method, made.variant, made.train, made.model_grid)
    same_row = row == (twin.method, twin.variant, twin.train, twin.model_grid)
    if (
        (made.pieces.sha256 != twin.pieces.sha256 and made.score_hash != twin.score_hash)
        or (made.seed == twin.seed and same_row)  # the same run, made or copied twice: it counts once
        or record.equal_presets(made, twin)
    ):
        return [], []
    if made.timing == twin.timing or made.score_hash == twin.score_hash or not same_row:
        return [f"its pieces or scores are those of {where} ({other.path}): one of the two is a copy"], []
    return [], [f"its pieces are equal to those of {where}: no chance in the method; it counts once"]


def _disagreements(made: RunRecord, other: Stored) -> Iterator[str]:
    """Facts about the same scans that do not depend on the method, and differ."""
    twin = other.record
    if (made.preparation.options, made.preparation.versions, made.card_version) != (
        twin.preparation.options, twin.preparation.versions, twin.card_version,
    ):  # fmt: skip
        return
    there = {(s.cohort, s.id): s for s in twin.subjects}
    for s in made.subjects:
        known = there.get((s.cohort, s.id))
        if known is not None and _scan(s) != _scan(known):
            yield f"{s.id} is another scan than in {other.path}: its subject, voxels or lesion differ"
    for item in made.excluded:
        if (item.cohort, item.id) in there:
            yield f"{item.id} is excluded ({item.reason}), but was scored in {other.path}"


def _scan(s: SubjectResult) -> tuple[object, ...]:
    who = (s.person, s.session, s.partition, s.site, s.sex, s.age, s.lesion_kind)
    return (*who, s.voxels, round(s.lesion_size, 4))


def _remarks(made: RunRecord) -> Iterator[str]:
    """What is consistent and still not to be overlooked."""
    for item in made.excluded:
        if item.partition in ("lesion-test", "healthy-test"):
            yield f"excluded of {item.partition}: {item.id} ({item.reason})"
    if made.elsewhere is not None:
        yield from made.elsewhere.remarks
    if made.regime == "phantom" or (made.elsewhere is not None and made.elsewhere.own_truth):
        return
    expected = dataset_card(made.test).expected.get(made.contrast)
    of_test = sum(part.subjects for name, part in made.splits.items() if name.startswith("lesion"))
    of_test += sum(item.partition == f"{NONE_OF}{made.test}" for item in made.excluded)
    if expected is not None and made.limit is None and of_test != expected:
        yield f"{of_test} scans of {made.test} are accounted for, a whole release has {expected}"
