"""Check that the phantom's subjects in a record are the phantom's, and nobody else's are."""

import re
from collections.abc import Iterator

from uadbench.experiment.record import RunRecord
from uadbench.phantom import KINDS, make_member
from uadbench.phantom.cohort import FIRST_HEALTHY, FIRST_LESION, FIRST_MEMBER, SEED, Member

PHANTOM = "phantom"
SURELY = 0.9  # share of the subjects with a known age that are members of the phantom


def check_phantom(made: RunRecord) -> Iterator[str]:
    """Whether the phantom's members are who they are, and nobody else's subjects are the phantom's."""
    by_age = [s for s in made.subjects if s.age is not None and s.cohort != PHANTOM]
    known = {(m.subject.age, m.subject.sex) for m in map(_member, _MEMBERS)}
    alike = sum((s.age, s.sex) in known for s in by_age)
    if made.regime != "phantom" and len(by_age) >= 5 and alike >= SURELY * len(by_age):
        yield f"{alike} of {len(by_age)} subjects have the ages and sexes of the phantom, not of {made.test}"
    for s in made.subjects:
        if s.cohort != PHANTOM:
            continue
        found = re.fullmatch(r"sub-(?:(\d{1,9})x)?(\d{4})", s.id)
        if found is None or s.person != s.id:
            yield f"{s.id} is no member of the phantom"
            continue
        member = _member(int(found[2]), int(found[1] or SEED))
        facts = (member.subject.age, member.subject.sex, member.site.name, member.kind)
        if facts != (s.age, s.sex, s.site, s.lesion_kind):
            yield f"{s.id} is not the member of the phantom that bears its name"


# Of the phantom, and of what fixtures are made of.
_MEMBERS = [first + n for first in (FIRST_HEALTHY, FIRST_MEMBER, FIRST_LESION) for n in range(200)]


def _member(number: int, seed: int = SEED) -> Member:
    """The member with a number; among the patients of the phantom the kinds of lesion take turns."""
    ill, kinds = FIRST_LESION <= number < FIRST_MEMBER, list(KINDS)
    return make_member(number, kinds[(number - FIRST_LESION) % len(kinds)] if ill else None, seed)
