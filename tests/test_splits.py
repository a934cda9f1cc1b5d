"""Who belongs where."""

from dataclasses import replace
from pathlib import Path

import pytest

from uadbench import cards, splits
from uadbench.errors import UserError
from uadbench.subject import Subject

CARD = replace(
    cards.dataset_card("phantom"), healthy_split={"train": 0.6, "val": 0.2}, lesion_split={"val": 0.3}
)


def subject(number: int, healthy: bool = True, person: str = "", session: str = "1") -> Subject:
    return Subject(
        id=f"s{number}", cohort="phantom", person=person or f"p{number}", session=session,
        images={"T1": Path("x.nii")}, healthy=healthy,
    )  # fmt: skip


def test_a_partial_copy_gives_a_subset_of_the_whole_split() -> None:
    whole = splits.split([subject(n) for n in range(200)], CARD)
    part = splits.split([subject(n) for n in range(0, 200, 7)], CARD)

    for name in splits.PARTITIONS:
        assert {s.id for s in part[name]} <= {s.id for s in whole[name]}


def test_fractions_are_met() -> None:
    parts = splits.split([subject(n, healthy=n % 2 == 0) for n in range(4000)], CARD)

    shares = {name: len(members) / 2000 for name, members in parts.items()}
    assert shares["healthy-train"] == pytest.approx(0.6, abs=0.03)
    assert shares["healthy-val"] == pytest.approx(0.2, abs=0.03)
    assert shares["lesion-val"] == pytest.approx(0.3, abs=0.03)
    assert shares["lesion-test"] == pytest.approx(0.7, abs=0.03)


def test_two_scans_of_one_person_under_different_ids_stay_together() -> None:
    scans = [subject(n, person=f"p{n // 2}", session=str(n % 2)) for n in range(100)]

    parts = splits.split(scans, CARD)

    homes = {s.person: name for name, members in parts.items() for s in members}
    assert all(homes[s.person] == name for name, members in parts.items() for s in members)


def test_a_person_in_two_partitions_stops_the_run() -> None:
    parts = {"healthy-train": [subject(1, person="anna")], "lesion-test": [subject(2, False, person="anna")]}

    with pytest.raises(UserError, match="anna .* healthy-train and in lesion-test"):
        splits.check_persons(parts)


def test_a_lower_limit_keeps_a_subset_and_changes_the_hash() -> None:
    everyone = [subject(n) for n in range(60)]
    few, more = (splits.split(everyone, CARD, limit=n)["healthy-train"] for n in (3, 6))

    assert {s.id for s in few} < {s.id for s in more}
    assert splits.split_hash(few) != splits.split_hash(more)


def test_the_partition_of_a_person_is_fixed_for_good() -> None:
    # These figures must never change: published splits hang on them.
    assert splits.position("ixi", "IXI002") == 0.8078283297401881


def test_balance_counts_sites_sexes_and_ages() -> None:
    members = [replace(subject(n), site="A" if n else "B", sex="F", age=30.0 + n) for n in range(3)]

    report = splits.balance({"healthy-train": members})["healthy-train"]

    assert report["site"] == {"A": 2, "B": 1}
    assert report["mean_age"] == 31.0
