"""Check of a record made elsewhere: do its numbers follow from its pieces, and its names from its facts?

It proves that a record is consistent, not that it is authentic: whoever invents scores and counts them
correctly passes. `CANNOT_SEE` says what else does.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench import methods
from uadbench.cards import DatasetCard, dataset_card, method_card
from uadbench.data import splits
from uadbench.experiment import record
from uadbench.experiment.collect import is_in_place
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import NONE_OF, Exclusion, RunRecord, Stored, SubjectResult
from uadbench.phantom import KINDS, make_member
from uadbench.phantom.cohort import FIRST_HEALTHY, FIRST_LESION, FIRST_MEMBER, Member
from uadbench.protocol import METRIC_VERSION, protocol, regime
from uadbench.system.errors import UserError
from uadbench.system.files import sha256_json

PHANTOM = "phantom"
ALL_TEST = "all-test"  # the split that tests on every patient
MOST_EXCLUDED = 0.1  # of the lesion-test scans of a split, and one in any case
SURELY = 0.9  # share of the subjects with a known age that are members of the phantom

CANNOT_SEE = (
    "scores that were invented and counted correctly, or are of another method than the named one",
    "which weights, options or masks were used: hashes of fits and data cannot be made again from a record",
    "in which part of a published split a subject is, where a release was published in parts",
    "who is in healthy-train: it is not scored, so that its hash stands as it was said",
    "how many lesions were found, and what was dropped after the threshold: the pieces count voxels",
    "the top of a scan's scores: only a scan score that is too low for its voxels is found",
    "a patient who was excluded though the scan could be prepared, unless another record here has scored it",
    "two patients of one partition whose names were exchanged throughout, or a copy whose hashes and times "
    "were changed, unless another record of the same test lies in the same results folder",
    "a made-up data set under the name of a real one, where it states no ages",
)


@dataclass(frozen=True)
class Checked:
    """What is wrong with a record, and what a reader should know of it besides."""

    wrong: Sequence[str]
    remarks: Sequence[str] = ()


def check_all(files: Sequence[Path]) -> dict[Path, Checked]:
    """Every file with what is wrong with it; what is no record at all is that file's fault alone."""
    found: dict[Path, Checked] = {}
    for file in files:
        try:
            found[file] = examine(file)
        except UserError as error:
            found[file] = Checked([str(error)])
    return found


def check(path: Path) -> list[str]:
    """Everything that is wrong with a record, in words; empty: it is consistent.

    A file that is no record, or whose pieces are not those it names, is a UserError.
    """
    return list(examine(path).wrong)


def examine(path: Path) -> Checked:
    """What is wrong with a record and what is remarkable; raises as `check` does."""
    stored = Stored(record.read(path), path)
    wrong = list(_names(stored))
    if wrong:
        return Checked(wrong)  # nothing else can be recomputed
    made = stored.record
    wrong = [*_people(made), *_exclusions(made), *_phantom(made)]
    try:
        wrong += wrong_figures(stored)
    except UserError as error:  # the pieces are damaged
        wrong.append(str(error))
    remarks = list(_remarks(made))
    for other in _beside(stored):
        of_copies, honest = _copies(made, other)
        wrong += [*of_copies, *_disagreements(made, other)]
        remarks += honest
    return Checked(wrong, remarks)


# ---- names -------------------------------------------------------------------------------------


def _names(stored: Stored) -> Iterator[str]:
    """Whether the protocol, the data sets, the method and the place are what they are said to be."""
    made = stored.record
    try:
        protocol(made.protocol)
        test = dataset_card(made.test)
        train = dataset_card(made.train) if made.train else None
        card = method_card(made.method)
        usual = methods.parameters(methods.build(made.method, made.preset))
    except UserError as error:
        yield str(error)
        return
    if made.metric_version != METRIC_VERSION:
        yield f"metric_version is {made.metric_version}, expected {METRIC_VERSION}: score the run again"
    if not is_in_place(stored):
        yield f"the file lies at {stored.path.name} in another folder than its facts say: {made.place}"
    if made.contrast not in test.contrasts:
        yield f"{made.test} has no contrast {made.contrast}"
    allowed = {regime(train, test), "phantom"}  # a fixture of a real set is a phantom
    if made.regime not in allowed:
        yield f"regime is {made.regime}, but {made.train or 'none'} to {made.test} is {regime(train, test)}"
    stated = {"trained": card.trained, "card_version": test.version, "headline": test.headline}
    for name, expected in stated.items():
        if getattr(made, name) != expected:
            yield f"{name} is {getattr(made, name)}, the card says {expected}"
    homes = {f"{NONE_OF}{made.test}", f"{NONE_OF}{made.train}", *splits.PARTITIONS}
    for item in made.excluded:
        if item.partition not in homes:
            yield f"{item.id} is excluded of {item.partition}, which is no partition"
            break
    yield from _options(made, usual)


def _options(made: RunRecord, usual: dict[str, object]) -> Iterator[str]:
    """Whether the variant's name says which options differ from the preset."""
    unknown = sorted(set(made.parameters) - set(usual))  # a method may have got options since
    if unknown:
        yield f"{made.method} has no option {', '.join(unknown)}"
        return
    words = made.variant.split(",")
    for key, value in sorted(made.parameters.items()):
        expected = usual[key]
        if value == (list(expected) if isinstance(expected, tuple) else expected):
            continue
        said = [word for word in words if word.startswith(f"{key}=")]
        if not said or (not isinstance(value, list) and said != [f"{key}={value}"]):
            yield f"option {key} differs from preset {made.preset}, which '{made.variant}' does not say"
    if made.split.asked not in ("published", "hash") and f"split={made.split.asked}" not in words:
        yield f"the split is {made.split.asked}, which '{made.variant}' does not say"
    if words[0] != made.preset:
        yield f"variant '{made.variant}' does not begin with its preset {made.preset}"


# ---- people ------------------------------------------------------------------------------------


def _people(made: RunRecord) -> Iterator[str]:
    """Who was tested: each once, in the partition that the rule gives, and as many as were planned."""
    by_partition: dict[str, list[SubjectResult]] = {}
    for subject in made.subjects:
        by_partition.setdefault(subject.partition, []).append(subject)
    for partition, members in by_partition.items():
        if partition not in made.splits:
            yield f"{partition} was scored, but the split has no such partition"
            continue
        if len({s.id for s in members}) < len(members):
            yield f"a subject is listed twice in {partition}"
        yield from _homes(made, partition, members)
    if "lesion-test" not in by_partition:
        yield "no scan of lesion-test was scored"
    for partition, planned in made.splits.items():
        if partition == "healthy-train":
            continue
        left_out = [item for item in made.excluded if item.partition == partition]
        there = by_partition.get(partition, [])
        if len(there) + len(left_out) != planned.subjects:
            yield (
                f"{partition} has {planned.subjects} subjects in the split, but {len(there)} were scored and "
                f"{len(left_out)} are listed as excluded"
            )
        elif _hash(there, left_out) != planned.hash:
            yield f"the hash of {partition} is not that of the subjects who were scored or excluded"
        everyone: list[SubjectResult | Exclusion] = [*there, *left_out]
        persons = {(one.cohort, one.person) for one in everyone}
        if len(persons) != planned.persons:
            yield f"{partition} has {planned.persons} subjects in the split, but {len(persons)} are listed"


def _hash(scored: Sequence[SubjectResult], left_out: Sequence[Exclusion]) -> str:
    """The hash of a partition, as `uadbench.data.splits.split_hash` makes it."""
    everyone: list[SubjectResult | Exclusion] = [*scored, *left_out]
    who = [[one.cohort or "", one.person or "", one.session or "", one.id] for one in everyone]
    return sha256_json(sorted(who))


def _homes(made: RunRecord, partition: str, members: Sequence[SubjectResult]) -> Iterator[str]:
    supplier = made.train if partition.startswith("healthy") else made.test
    for subject in members:
        if subject.cohort != supplier:
            yield f"{subject.id} of {partition} is of {subject.cohort}, but the partition is of {supplier}"
            return
        card = dataset_card(subject.cohort)
        expected = _partition_by_hash(subject, card, partition)
        if made.split.asked == ALL_TEST and partition.startswith("lesion"):
            expected = "lesion-test"
        elif card.published_split and made.split.asked != "hash":
            expected = partition  # as published; which part a subject is in, the record does not say
        if expected != partition:
            yield f"{subject.id} is in {partition}, but the split puts its subject into {expected}"


def _partition_by_hash(subject: SubjectResult, card: DatasetCard, partition: str) -> str:
    """The partition of a subject by the hash rule."""
    group = partition.split("-")[0]
    fractions = card.healthy_split if group == "healthy" or card.within else card.lesion_split
    place = splits.hash_position(subject.cohort, subject.person)
    for name in ("train", "val"):
        place -= fractions.get(name, 0.0)
        if place < 0:
            return f"{group}-{name}"
    return f"{group}-test"


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


def _phantom(made: RunRecord) -> Iterator[str]:
    """Whether the phantom's members are who they are, and nobody else's subjects are the phantom's."""
    by_age = [s for s in made.subjects if s.age is not None and s.cohort != PHANTOM]
    known = {(m.subject.age, m.subject.sex) for m in _members()}
    alike = sum((s.age, s.sex) in known for s in by_age)
    if made.regime != "phantom" and len(by_age) >= 5 and alike >= SURELY * len(by_age):
        yield f"{alike} of {len(by_age)} subjects have the ages and sexes of the phantom, not of {made.test}"
    for s in made.subjects:
        number = re.fullmatch(r"sub-(\d{4})", s.id)
        if s.cohort != PHANTOM:
            continue
        if number is None or s.person != s.id:
            yield f"{s.id} is no member of the phantom"
            continue
        kinds, place = list(KINDS), int(number[1]) - FIRST_LESION
        kind = kinds[place % len(kinds)] if place >= 0 else None
        member = make_member(int(number[1]), kind)
        facts = (member.subject.age, member.subject.sex, member.site.name, kind)
        if facts != (s.age, s.sex, s.site, s.lesion_kind):
            yield f"{s.id} is not the member of the phantom that bears its name"


def _members() -> Iterator[Member]:
    """Members of the phantom, and of what fixtures are made of."""
    kinds = list(KINDS)
    for first, count in ((FIRST_HEALTHY, 200), (FIRST_MEMBER, 200)):
        yield from (make_member(first + number) for number in range(count))
    yield from (make_member(FIRST_LESION + n, kinds[n % len(kinds)]) for n in range(200))


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
            other = record.parse(path)
        except UserError:
            continue  # that is its own fault
        if (other.test, other.contrast, other.protocol) == (made.test, made.contrast, made.protocol):
            yield Stored(other, path)


def _copies(made: RunRecord, other: Stored) -> tuple[list[str], list[str]]:
    """Whether the pieces are those of another record, as a fault, or as a remark where that may be honest."""
    twin = other.record
    if made.pieces.sha256 != twin.pieces.sha256 and made.score_hash != twin.score_hash:
        return [], []
    where = f"{twin.method} {twin.variant} seed {twin.seed}"
    row = (made.method, made.variant, made.train, made.model_grid)
    same_row = row == (twin.method, twin.variant, twin.train, twin.model_grid)
    if made.seed == twin.seed and same_row:
        return [], []  # the same run, made or copied twice: it counts once
    if record.equal_presets(made, twin):
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
    if made.regime == "phantom":
        return
    expected = dataset_card(made.test).expected.get(made.contrast)
    of_test = sum(part.subjects for name, part in made.splits.items() if name.startswith("lesion"))
    of_test += sum(item.partition == f"{NONE_OF}{made.test}" for item in made.excluded)
    if expected is not None and made.limit is None and of_test != expected:
        yield f"{of_test} scans of {made.test} are accounted for, a whole release has {expected}"
