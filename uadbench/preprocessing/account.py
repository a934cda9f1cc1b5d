"""Account: how the scans of a cohort were prepared, as a record states it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from uadbench.data.prepared import Prepared
from uadbench.preprocessing import brains, external
from uadbench.preprocessing.bias import N4_VERSION
from uadbench.preprocessing.prepare_scan import PREPARATION_VERSION, Options
from uadbench.preprocessing.register import REGISTRATION_VERSION
from uadbench.preprocessing.rigid import RIGID_VERSION


def account(parts: Mapping[str, Sequence[Prepared]], options: Options) -> dict[str, Any]:
    """Options, versions, and by partition: how brains were found, and how many scans were flagged."""
    there = {partition: members for partition, members in parts.items() if members}
    return {
        "options": asdict(options),
        "versions": {
            "preparation": PREPARATION_VERSION,
            "registration": REGISTRATION_VERSION,
            "rigid": RIGID_VERSION,
            "n4": N4_VERSION,
            "extractor": external.version(options.extractor),
        },
        "brains": {partition: ways(members) for partition, members in there.items()},
        "flagged": {
            partition: sum(bool(item.facts["quality"]["flags"]) for item in members)
            for partition, members in there.items()
        },
    }


def ways(prepared: Iterable[Prepared]) -> dict[str, int]:
    """How many brain masks were found in which way: "own mask", "atlas on T1, carried", ..."""
    return dict(sorted(Counter(_way(item.facts["brain"]) for item in prepared).items()))


def _way(brain: Mapping[str, Any]) -> str:
    given = brain["by"] in brains.GIVEN
    words = [brain["by"], *([brain["version"]] if "version" in brain else [])]
    words += [] if given else ["on", brain["on"]]
    return " ".join(words) + (", carried" if brain.get("carried") else "")
