"""Cautions: what forbids to read the figures of a table as they look."""

from uadbench.report import guests, shortcut
from uadbench.report.leaderboard import Row, Table, mean_of_all

RATE_KEPT = 0.05  # of the tissue outside lesions that a threshold of 1 % may call before a table warns
ROWS_NAMED = 4


def cautions(table: Table) -> list[str]:
    """What forbids to read a table's ranks, or its scan AUROC, as evidence about brains."""
    lines = [guests.NOTE] if any(row.elsewhere for row in table.rows) else []
    if table.regime == "phantom":
        lines.append(
            "The phantom tests the software: ranks on it are no evidence about brains, and methods that "
            "use the atlas share its priors."
        )
    if table.regime == "implanted":
        lines.append(
            "Lesions of known size were put into healthy scans: a measure of what is detectable, which says "
            "nothing about how real lesions look."
        )
    if table.shortcut is not None:
        found = table.shortcut
        says_little = "so the scan-level AUROC says little about lesions"
        verdict = says_little if shortcut.separates(found) else "not separable from chance"
        lines.append(
            "Confounder check: a classifier on global intensities separates scans with lesions from healthy "
            f"ones with AUROC {found.value:.3f} ({found.low:.3f}-{found.high:.3f}), {verdict}."
        )
    return lines + _lost_rates(table)


def _lost_rates(table: Table) -> list[str]:
    """Rows whose threshold of 1 % calls far more of the tested scans, as of those of another scanner."""
    called = [(_called_beside_lesions(row), row) for row in table.rows]
    lost = sorted([one for one in called if one[0] > RATE_KEPT], key=lambda one: -one[0])
    if not lost:
        return []
    named = [f"{100 * rate:.0f} % for `{in_short(row, table)}`" for rate, row in lost[:ROWS_NAMED]]
    more = [f"over {100 * RATE_KEPT:.0f} % for {len(lost) - ROWS_NAMED} more"] * (len(lost) > ROWS_NAMED)
    return [
        "The threshold of 1 % false positives was set on healthy scans; of the tissue outside lesions in the "
        f"tested ones it calls {', '.join(named + more)}: what such a row finds there says little."
    ]


def in_short(row: Row, table: Table) -> str:
    """A row by its method's code name, with what tells it from other rows of the same method."""
    return " ".join([row.method, *[getattr(row, fact) for fact in table.told_apart_by[row.method]]])


def _called_beside_lesions(row: Row) -> float:
    """False-positive rate in the scans with lesions at the threshold of 1 %, mean over seeds; 0 for none."""
    profiles = [one.summary.profiles.get(one.headline) for one in row.records]
    points = [None if one is None else one.points.get("fpr1") for one in profiles]
    return mean_of_all([None if one is None else one.fpr_lesion_test for one in points]) or 0.0
