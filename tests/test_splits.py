"""Who belongs where."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from uadbench import cards
from uadbench.data import splits
from uadbench.data.session import LeftOut, Session
from uadbench.system.errors import UserError

CARD = replace(
    cards.dataset_card("phantom"), healthy_split={"train": 0.6, "val": 0.2}, lesion_split={"val": 0.3}
)


def session(number: int, healthy: bool = True, subject: str = "", label: str = "1") -> Session:
    return Session(
        id=f"s{number}", cohort="phantom", subject=subject or f"p{number}", label=label,
        images={"T1": Path("x.nii")}, healthy=healthy,
    )  # fmt: skip


def test_a_partial_copy_gives_a_subset_of_the_whole_split() -> None:
    whole = splits.split_sessions([session(n) for n in range(200)], CARD)
    part = splits.split_sessions([session(n) for n in range(0, 200, 7)], CARD)

    for name in splits.PARTITIONS:
        assert {s.id for s in part[name]} <= {s.id for s in whole[name]}


def test_fractions_are_met() -> None:
    parts = splits.split_sessions([session(n, healthy=n % 2 == 0) for n in range(4000)], CARD)

    shares = {name: len(members) / 2000 for name, members in parts.items()}
    assert shares["healthy-train"] == pytest.approx(0.6, abs=0.03)
    assert shares["healthy-val"] == pytest.approx(0.2, abs=0.03)
    assert shares["lesion-val"] == pytest.approx(0.3, abs=0.03)
    assert shares["lesion-test"] == pytest.approx(0.7, abs=0.03)


def test_two_scans_of_one_person_under_different_ids_stay_together() -> None:
    scans = [session(n, subject=f"p{n // 2}", label=str(n % 2)) for n in range(100)]

    parts = splits.split_sessions(scans, CARD)

    homes = {s.subject: name for name, members in parts.items() for s in members}
    assert all(homes[s.subject] == name for name, members in parts.items() for s in members)


def test_a_person_in_two_partitions_stops_the_run() -> None:
    parts = {
        "healthy-train": [session(1, subject="anna")],
        "lesion-test": [session(2, False, subject="anna")],
    }

    with pytest.raises(UserError, match="anna .* healthy-train and in lesion-test"):
        splits.check_subjects(parts)


def test_a_lower_limit_keeps_a_subset_and_changes_the_hash() -> None:
    everyone = [session(n) for n in range(60)]
    few, more = (splits.split_sessions(everyone, CARD, limit=n)["healthy-train"] for n in (3, 6))

    assert {s.id for s in few} < {s.id for s in more}
    assert splits.split_hash(few) != splits.split_hash(more)


def test_the_partition_of_a_person_is_fixed_for_good() -> None:
    # These figures must never change: published splits hang on them.
    assert splits.hash_position("ixi", "IXI002") == 0.8078283297401881


def test_balance_counts_sites_sexes_and_ages() -> None:
    members = [replace(session(n), site="A" if n else "B", sex="F", age=30.0 + n) for n in range(3)]

    report = splits.count_balance({"healthy-train": members})["healthy-train"]

    assert report["site"] == {"A": 2, "B": 1}
    assert report["mean_age"] == 31.0


# ---- published parts ----

PUBLISHED = replace(CARD, published_split={"training": "lesion-val", "test": "lesion-test"})


def test_published_parts_are_followed_and_whoever_is_in_none_is_split_by_the_hash() -> None:
    everyone = [session(n, healthy=False) for n in range(60)]
    parted = [replace(s, part=("training", "test", None)[n % 3]) for n, s in enumerate(everyone)]

    by_hash, published = splits.split_sessions(everyone, CARD), splits.split_sessions(parted, PUBLISHED)

    homes = {s.id: name for name, members in published.items() for s in members}
    assert all(homes[f"s{n}"] == "lesion-val" for n in range(0, 60, 3))
    assert all(homes[f"s{n}"] == "lesion-test" for n in range(1, 60, 3))
    rest = {name: {s.id for s in members if int(s.id[1:]) % 3 == 2} for name, members in by_hash.items()}
    assert all(homes[name] == part for part, members in rest.items() for name in members)
    assert splits.split_sessions(parted, CARD) == {
        name: [replace(s, part=("training", "test", None)[int(s.id[1:]) % 3]) for s in members]
        for name, members in by_hash.items()
    }


def test_a_part_of_a_published_split_is_a_subset_of_it() -> None:
    whole = [replace(session(n, healthy=False), part=("training", "test")[n % 2]) for n in range(20)]

    (alone,) = [members for members in splits.split_sessions(whole[::2], PUBLISHED).values() if members]

    assert {s.id for s in alone} == {s.id for s in splits.split_sessions(whole, PUBLISHED)["lesion-val"]}


def test_a_person_in_two_published_parts_stops_the_run() -> None:
    parted = [replace(session(n, False, subject="anna"), part=("training", "test")[n]) for n in range(2)]

    with pytest.raises(UserError, match="anna .* lesion-val and in lesion-test"):
        splits.check_subjects(splits.split_sessions(parted, PUBLISHED))


def test_a_card_that_names_an_unknown_partition_is_refused() -> None:
    card = replace(CARD, published_split={"training": "lesion-train"})

    with pytest.raises(UserError, match="no partition 'lesion-train' of .*card.* Available: healthy-tr"):
        splits.find_partition(replace(session(1, healthy=False), part="training"), card)


# ---- lists ----


def test_the_list_says_who_is_where_and_its_hashes_are_those_of_the_partitions(tmp_path: Path) -> None:
    members = [
        replace(session(1, False), part="test", site="A", sex="F", age=40.5),
        replace(session(2, False), part="training", images={"T1": Path("x"), "T2": Path("y")}),
        replace(session(3, False), part="test", age=60.0, images={"T2": Path("y")}),
    ]
    left_out = [LeftOut("s4", "has no image")]

    facts = splits.write_list(members, left_out, PUBLISHED, tmp_path)

    text = (tmp_path / "phantom.csv").read_text()
    assert text == (
        "partition,person,subject,session,part,site,sex,age,contrasts\n"
        "lesion-val,p2,s2,1,training,,,,T1 T2\n"
        "lesion-test,p1,s1,1,test,A,F,40.5,T1\n"
        "lesion-test,p3,s3,1,test,,,60.0,T2\n"
    )
    about = json.loads((tmp_path / "phantom.json").read_text())
    assert facts == {"rule": "published", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert facts.items() <= about.items()
    assert about["left_out"] == [{"id": "s4", "reason": "has no image"}]
    assert about["fractions"] == {"healthy": {"train": 0.6, "val": 0.2}, "lesion": {"val": 0.3}}
    tested = about["partitions"]["lesion-test"]
    assert (tested["subjects"], tested["site"], tested["sex"]) == (
        2,
        {"A": 1, "unknown": 1},
        {"F": 1, "unknown": 1},
    )
    assert (tested["mean_age"], tested["age_range"], tested["age_unknown"]) == (50.2, [40.5, 60.0], 0)
    assert tested["hashes"] == {
        "all": splits.split_hash([members[0], members[2]]),
        "T1": splits.split_hash(members[:1]),
        "T2": splits.split_hash(members[2:]),
    }
    splits.write_list(members, left_out, PUBLISHED, tmp_path / "again")
    for name in ("phantom.csv", "phantom.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


# ---- every patient tested ------------------------------------------------------------------------


def test_all_test_puts_every_patient_into_lesion_test_and_leaves_the_healthy_where_they_are() -> None:
    people = [replace(session(n, healthy=n % 2 == 0), part=("a", "b")[n % 3 == 0]) for n in range(200)]
    card = replace(CARD, published_split={"b": "lesion-val"})
    usual, every = (
        splits.split_sessions(people, splits.apply_rule(card, rule)) for rule in ("published", "all-test")
    )

    assert usual["lesion-val"]
    assert every["lesion-val"] == []
    assert every["lesion-test"] == [s for s in sorted(people, key=lambda s: s.id) if not s.healthy]
    healthy = [s for s in people if s.healthy and s.part == "a"]  # whom no published part concerns
    for name in ("healthy-train", "healthy-val", "healthy-test"):
        of_hash = splits.split_sessions(people, splits.apply_rule(card, "hash"))[name]
        assert [s for s in every[name] if s in healthy] == [s for s in of_hash if s in healthy]


def test_all_test_has_a_list_of_its_own(tmp_path: Path) -> None:
    card = splits.apply_rule(CARD, "all-test")
    facts = splits.write_list([session(1, False)], [], card, tmp_path)
    assert facts["rule"] == "all-test"
    assert (tmp_path / "phantom-all-test.csv").read_text().splitlines()[1].startswith("lesion-test,")
    assert splits.list_path(CARD, tmp_path) == tmp_path / "phantom.csv"
