"""Shortcut control: can simple intensity statistics tell the healthy from the lesion cohort (rule 14)?

If they can, a method may reach a high scan AUROC without seeing a lesion.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.facts import SubjectResult
from uadbench.report.evidence import TESTED

FOLDS = 5
FEWEST = 2 * FOLDS  # subjects of each cohort, below which a classifier learns nothing


def separates(auroc: Interval) -> bool:
    """Whether the cohorts are told apart beyond chance."""
    return auroc.low > 0.5


def control_shortcut(subjects: Sequence[SubjectResult]) -> Interval | None:
    """AUROC of telling the two cohorts apart by the statistics alone, on subjects never seen before.

    Logistic regression on the standardised statistics, cross-validated over subjects; None where they carry
    no statistics or are too few.
    """
    tested = [s for s in subjects if s.partition in TESTED and s.intensity]
    if len({len(s.intensity or ()) for s in tested}) > 1:  # of different versions of the statistics
        return None
    ill = np.array([s.partition == "lesion-test" for s in tested], bool)
    persons = np.array([s.person for s in tested])
    if min((len(set(persons[ill == cohort])) for cohort in (False, True)), default=0) < FEWEST:
        return None
    return uncertainty.interval(
        uncertainty.scan_auroc(
            list(_out_of_fold(np.array([s.intensity for s in tested]), ill, persons)),
            list(ill),
            uncertainty.draw_resamples(list(persons), [s.partition for s in tested], uncertainty.RESAMPLES),
        )
    )


def _out_of_fold(statistics: Any, ill: Any, persons: Any) -> Any:
    """The probability of a lesion scan by a classifier that has not seen the subject, (scans,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(model, statistics, ill, groups=persons, cv=folds, method="predict_proba")[:, 1]
